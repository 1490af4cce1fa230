"""Threads that share out ranges of labels: those of torch where torch has GNU OpenMP, otherwise a pool of our own.

An idle OpenMP thread spins for milliseconds before it sleeps. Threads of our own would have to share the cores with
those that torch's last operator left spinning; torch's threads start at once and are never more than the cores.

The calling thread is one of OpenMP's team, and the main thread runs signal handlers wherever Python code begins. What a
handler raises (KeyboardInterrupt, a timeout) would be lost in the callback from C, had this not begun inside a `try`.
"""

import ctypes
import functools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

_Task = ctypes.CFUNCTYPE(None, ctypes.py_object)
_NEXT = _Task(next)  # no Python code of its own


def share_out(run: Callable[..., object], ranges: Iterable[tuple[Any, ...]], threads: int) -> None:
    """Call `run` on every range, on up to `threads` threads; each takes the next range when it has done one.

    Raises:
        BaseException: the first that a call or a signal handler raised, after all threads have stopped; ranges not
            begun by then are left.
    """
    work = deque(ranges)
    errors: list[BaseException] = []

    def member() -> Generator[None, None, None]:
        """The work of one thread, begun already, so that all it does from now on stands inside the `try`."""
        try:
            yield
            while work and not errors:
                try:
                    task = work.popleft()
                except IndexError:  # another thread was faster
                    break
                run(*task)
        except GeneratorExit:  # the team was smaller
            raise
        except BaseException as error:
            errors.append(error)
        yield

    if (threads := min(threads, len(work))) <= 1:
        for task in work:
            run(*task)
        return
    members = [member() for _ in range(threads)]
    for begun in members:
        next(begun)
    each = map(next, iter(members))
    if (openmp := _gnu_openmp()) is not None:
        openmp.GOMP_parallel(_NEXT, each, threads, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                list(pool.map(lambda _: next(each), members))
            except BaseException as error:
                errors.append(error)
    if errors:
        raise errors[0]


@functools.cache
def _gnu_openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime that came with torch, where it is GNU's."""
    site = Path(torch.__file__).parent
    for path in [*site.glob("lib/libgomp*.so*"), *site.parent.glob("torch.libs/libgomp*.so*")]:
        library = ctypes.CDLL(str(path))
        library.GOMP_parallel.argtypes = (_Task, ctypes.py_object, ctypes.c_uint, ctypes.c_uint)
        library.GOMP_parallel.restype = None
        return library
    return None
