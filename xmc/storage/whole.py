"""Files and folders that appear whole or not at all.

What is being written has a temporary name of its own beside its place, `.<name>.<random>.tmp`, and an exclusive lock
(flock) for as long as its writer lives. So the rest of a writer that was killed is known from the work of a living one,
whichever process looks: `sweep` removes the one and leaves the other.
"""

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write (`w`: text in UTF-8; `wb`: bytes), in its place once it is written without an error, and synced.

    Folders above it are made. Its permissions are those that the umask leaves. A symlink stays one: the file that it
    names is written. What is no regular file, such as a FIFO or a device, is written to as it is.

    Raises:
        OSError: the file, which is named, cannot be written; what was in its place is still there.
    """
    encoding = None if "b" in mode else "utf-8"
    if os.path.exists(path) and not os.path.isdir(path) and not stat.S_ISREG(os.stat(path).st_mode):
        with open(path, mode, encoding=encoding) as out:  # by its own name: that behind /dev/stdout cannot be opened
            yield out
        return
    place = _place(path)
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; expected a file", str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep(place.parent, place.name)
    with _told_of(place):
        descriptor, temporary = _locked_file(place)
    try:
        with _told_of(place), open(descriptor, mode, encoding=encoding) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
            temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(place.parent)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill, in its place once that is done without an error, and synced; it replaces what is there.

    The permissions of its files are those that the umask leaves.

    Raises:
        OSError: the folder, which is named, cannot be written; what was in its place is still there.
    """
    place = _place(path)
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file; expected a folder", str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep(place.parent, place.name)
    with _told_of(place):
        descriptor, temporary = _locked_folder(place)
    try:
        with _told_of(place):
            yield temporary
        for entry in temporary.rglob("*"):
            if entry.is_file():
                entry.chmod(temporary.stat().st_mode & 0o666)  # safetensors lets nobody else read what it writes
                _sync(entry)
        _sync(temporary)
        if place.exists():
            _exchange(temporary, place)
        else:
            temporary.rename(place)
        _sync(place.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # what was replaced, or what failed
        os.close(descriptor)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers of the file or folder `name`, or of any, left in `folder`."""
    wanted = re.compile(rf"\.{'.+' if name is None else re.escape(_short(name))}\.[0-9a-f]{{16}}\.tmp", re.DOTALL)
    for left in [path for path in folder.glob(".*.tmp") if wanted.fullmatch(path.name)]:
        if left.is_symlink() or not (left.is_file() or left.is_dir()):
            continue
        with suppress(OSError):  # held by a living writer, or not ours to remove
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            finally:
                os.close(descriptor)


def _place(path: str | Path) -> Path:
    """Behind all links."""
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return place


def _temporary(place: Path) -> Path:
    return place.with_name(f".{_short(place.name)}.{secrets.token_hex(8)}.tmp")


def _short(name: str) -> str:
    """With room for what a temporary name adds: most file systems take 255 bytes."""
    return os.fsdecode(os.fsencode(name)[:200])


@contextmanager
def _told_of(place: Path) -> Iterator[None]:
    """An error that names no file, or a temporary one, names the place instead."""
    try:
        yield
    except OSError as error:
        temporary = str(place.with_name(f".{_short(place.name)}."))
        within = error.filename is not None and str(error.filename).startswith(temporary)
        if within or (error.filename is None and error.errno in _NO_ROOM):
            error.filename, error.filename2 = str(place), None
        raise


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change places, at once where the system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None or rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) != 0:
        aside = _temporary(other)
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


def _locked_file(place: Path) -> tuple[int, Path]:
    while True:
        temporary = _temporary(place)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if _held(descriptor, temporary):
            return descriptor, temporary
        os.close(descriptor)


def _locked_folder(place: Path) -> tuple[int, Path]:
    while True:
        temporary = _temporary(place)
        temporary.mkdir()
        with suppress(FileNotFoundError):
            descriptor = os.open(temporary, os.O_RDONLY)
            if _held(descriptor, temporary):
                return descriptor, temporary
            os.close(descriptor)


def _held(descriptor: int, temporary: Path) -> bool:
    """Whether what was made is locked now, and was not swept in between."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: nothing is swept there
        return True
    return temporary.exists()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
