"""One writer at a time."""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from xmc.errors import XMCError
from xmc.terminal import without_passwords

logger = logging.getLogger(__name__)

_ATTEMPTS = 100


@contextmanager
def locked(folder: Path, *, name: str = "lock", wait: bool = False) -> Iterator[None]:
    """Hold `<folder>/.<name>`, which the system lets go when this process ends, however it ends.

    The folder is made, and goes again where nothing else came to lie in it. wait: whether to wait for another holder,
    which is logged, or to give up.

    Raises:
        XMCError: another process, which is named, holds it.
        OSError: the folder cannot be made or written to.
    """
    made = [above for above in (folder, *folder.parents) if not above.exists()]
    path, holder = folder / f".{name}", folder / f".{name}.json"
    lock = FileLock(path, is_singleton=False)
    try:
        _acquire(lock, folder, timeout=0)
    except Timeout:
        if not wait:
            raise XMCError(
                f"{folder} is in use by {_told(holder)}; wait until that has ended, or choose another folder"
            ) from None
        logger.info("waiting for %s, which works on %s", _told(holder), folder)
        _acquire(lock, folder, timeout=-1)
    try:
        holder.write_text(json.dumps(_self()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # FileLock takes no lock on a file that has lost its name
        lock.release()
        with suppress(OSError):  # not empty: the folder is in use
            for above in made:
                above.rmdir()


def is_locked(folder: Path) -> bool:
    """Whether `<folder>/.lock` is held, or was by a process that was killed since."""
    return (folder / ".lock").exists()


def forget_lock(folder: Path, *, name: str = "lock") -> None:
    """Remove what a holder that was killed left of its lock."""
    if (folder / f".{name}").exists():
        with suppress(XMCError, OSError), locked(folder, name=name):
            pass


def _acquire(lock: FileLock, folder: Path, timeout: float) -> None:
    for left in reversed(range(_ATTEMPTS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout)
            return
        except (FileNotFoundError, FileExistsError):  # the holder before takes the folder away, as it made it
            if not left:
                raise


def _self() -> dict[str, str]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "process": str(os.getpid()),
        "host": socket.gethostname(),
        "command": without_passwords(command)[:200],
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _told(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text())
        return f"process {who['process']} on {who['host']} (`{who['command']}`, since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
