"""One writer at a time."""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from xmc.types import XMCError

logger = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, *, name: str = "lock", wait: bool = False) -> Iterator[None]:
    """Hold `<folder>/.<name>`, which the system lets go when this process ends, however it ends.

    The folder is made. wait: whether to wait for another holder, which is logged, or to give up.

    Raises:
        XMCError: another process, which is named, holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / f".{name}", is_singleton=False), folder / f".{name}.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise XMCError(
                f"{folder} is in use by {_told(holder)}; wait until that has ended, or choose another folder"
            ) from None
        logger.info("waiting for %s, which works on %s", _told(holder), folder)
        lock.acquire()
    try:
        holder.write_text(json.dumps(_self()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _self() -> dict[str, str]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "process": str(os.getpid()),
        "host": socket.gethostname(),
        "command": command[:200],
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _told(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text())
        return f"process {who['process']} on {who['host']} (`{who['command']}`, since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
