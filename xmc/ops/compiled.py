"""Kernels compiled by numba: where they are kept on disk, and the threads that run them."""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from numba import config, njit

from xmc.ops.team import share_out
from xmc.storage import private_folder, user_cache

logger = logging.getLogger(__name__)


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
