"""Kernels compiled by numba: where they are kept on disk, and the threads that share out ranges of labels among them.

The threads are those of torch where torch has GNU OpenMP, otherwise a pool of our own. An idle OpenMP thread spins for
milliseconds before it sleeps. Threads of our own would have to share the cores with those that torch's last operator
left spinning; torch's threads start at once and are never more than the cores.

The calling thread is one of OpenMP's team, and the main thread runs signal handlers wherever Python code begins. What a
handler raises (KeyboardInterrupt, a timeout) would be lost in the callback from C, had this not begun inside a `try`.
"""

import ctypes
import functools
import hashlib
import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from numba import config, njit

from xmc.storage import private_folder, user_cache

logger = logging.getLogger(__name__)

_Task = ctypes.CFUNCTYPE(None, ctypes.py_object)
_NEXT = _Task(next)  # no Python code of its own


def kernel(*sources: str) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: compiled on first use, without the interpreter's lock, and kept on disk.

    sources: the files that a kernel is made of, of which numba itself heeds only the one where it stands.
    """
    folder = _cache_folder(*sources)

    def compiled(function: Callable[..., Any]) -> Any:
        others, config.CACHE_DIR = config.CACHE_DIR, str(folder)
        try:
            return njit(nogil=True, cache=folder is not None)(function)
        finally:
            config.CACHE_DIR = others

    return compiled


def ranges_of(count: int, unit: int, most: int) -> list[tuple[int, int]]:
    """At most `most` ranges of [0, count), each but the last of the same multiple of `unit`."""
    units = -(-count // unit)
    step = max(1, -(-units // most)) * unit
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def in_parallel(kernel: Any, run: Callable[..., object], work: Iterable[tuple[Any, ...]]) -> None:
    """Call `run` on every range, with as many threads as torch has. `kernel`, which it calls, holds no lock."""
    work = list(work)
    if not kernel.overloads and work:
        started = time.perf_counter()
        run(*work.pop(0))
        if kernel.stats.cache_misses:
            seconds = time.perf_counter() - started
            logger.info("numba: %s compiled in %.1f s, once on this machine", kernel.__name__, seconds)
    share_out(run, work, torch.get_num_threads())


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


def _cache_folder(*sources: str) -> Path | None:
    """Where kernels made of these files are kept.

    Whoever can write there can run code here, so a folder that others may write to is passed over. None: nowhere, and
    every process compiles anew.
    """
    digest = hashlib.blake2b(b"".join(Path(source).read_bytes() for source in sources), digest_size=8).hexdigest()
    for parent in _cache_parents():
        try:
            return private_folder(parent / f"numba-{digest}")
        except OSError as error:
            logger.warning("numba: compiled kernels are not kept in %s: %s", parent, error)
    return None


def _cache_parents() -> Iterator[Path]:
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR)
    if (home := user_cache()) is not None:
        yield home / "xmc"
    yield Path(tempfile.gettempdir()) / f"xmc-{os.geteuid()}"
