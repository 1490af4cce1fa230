"""Threads that share out ranges of labels: those of torch where torch has GNU OpenMP, otherwise a pool of our own.

An idle OpenMP thread spins for milliseconds before it sleeps. Threads of our own would have to share the cores with
those that torch's last operator left spinning; torch's threads start at once and are never more than the cores.
"""

import ctypes
import functools
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

_Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def share_out(run: Callable[..., object], ranges: Iterable[tuple[Any, ...]], threads: int) -> None:
    """Call `run` on every range, on up to `threads` threads; each takes the next range when it has done one.

    Raises:
        BaseException: the first that a call raised, after all threads have stopped; ranges not begun by then are left.
    """
    work = deque(ranges)
    errors: list[BaseException] = []

    def member(_: int | None) -> None:
        while not errors:
            try:
                task = work.popleft()
            except IndexError:
                return
            try:
                run(*task)
            except BaseException as error:
                errors.append(error)

    threads = min(threads, len(work))
    if threads <= 1:
        member(None)
    elif (openmp := _gnu_openmp()) is not None:
        openmp.GOMP_parallel(_Task(member), None, threads, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(member, range(threads)))
    if errors:
        raise errors[0]


@functools.cache
def _gnu_openmp() -> ctypes.CDLL | None:
    """The OpenMP runtime that came with torch, where it is GNU's."""
    site = Path(torch.__file__).parent
    for path in [*site.glob("lib/libgomp*.so*"), *site.parent.glob("torch.libs/libgomp*.so*")]:
        library = ctypes.CDLL(str(path))
        library.GOMP_parallel.argtypes = (_Task, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        library.GOMP_parallel.restype = None
        return library
    return None
