"""The user's home, and folders that nobody but this user writes to: for what is executed, or trusted, when it is read
back."""

import grp
import os
import pwd
import stat
from pathlib import Path

from xmc.errors import XMCError


def private_folder(path: Path) -> Path:
    """The folder `path`, made for this user alone where it is not there.

    Raises:
        PermissionError: somebody else may write to it, or to a folder above it.
        OSError: it cannot be made.
    """
    place = Path(os.path.realpath(path))
    for folder in [*reversed(place.parents), place]:
        if not folder.exists():
            folder.mkdir(0o700, exist_ok=True)
        if others := _others_write(folder.stat(), last=folder == place):
            raise PermissionError(f"{folder} {others}")
    return place


def home_expanded(path: str | Path) -> Path:
    """`~/...` with the home directory. Raises XMCError where there is none."""
    given = Path(path)
    if given.parts[:1] != ("~",):
        return given
    try:
        return given.expanduser()
    except RuntimeError:
        raise XMCError(f"{path}: there is no home directory; set HOME, or give the path without ~") from None


def user_cache() -> Path | None:
    """Where this user keeps caches, `~/.cache`; None of a user without a home."""
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


def _others_write(found: os.stat_result, *, last: bool) -> str:
    """How somebody else could put files into a folder or, for one above the last, another folder in its place."""
    if found.st_uid != os.geteuid() and (last or found.st_uid != 0):
        return f"belongs to another user ({found.st_uid})"
    if found.st_mode & stat.S_ISVTX and not last:  # as /tmp: only the owner of an entry may replace it
        return ""
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _own_group(found.st_gid)):
        return f"may be written by others (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


def _own_group(group: int) -> bool:
    """Whether a group is the user's alone, which systems with a umask of 002 give everyone."""
    try:
        user, named = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and named.gr_name == user.pw_name and set(named.gr_mem) <= {user.pw_name}
