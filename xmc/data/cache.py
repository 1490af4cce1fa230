"""What is made once and kept: folders that are whole and proved so each time they are read, or made anew."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.storage import digest, forget_lock, locked, read_json, sweep, whole_folder

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

T = TypeVar("T")
_MANIFEST = "manifest.json"


def cached(folder: Path, make: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """What `load` gives of `folder`, which `make` fills where there is none that is whole.

    A manifest beside the files tells the digest of each. They are read once to be compared with it, and what is not
    what it was is told and made anew. Of several processes that want the same folder one makes it and the others wait.

    Raises:
        XMCError: the cache cannot be written or read.
    """
    try:
        found = _load(folder, load)
        if found is not None:
            forget_lock(folder.parent, name=folder.name)
        else:
            with locked(folder.parent, name=folder.name, wait=True):
                found = _load(folder, load)  # as another process may have made it
                if found is None:
                    found = _made(folder, make, load)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise XMCError(
            f"the cache {folder} cannot be written or read ({reason}); "
            "make room or permit it there, or choose another folder: data.cache_dir=..."
        ) from None
    if found is None:
        raise XMCError(f"{folder} cannot be read back after writing it; is the disk full or failing?")
    return found


def arrow_rows(folder: Path) -> "Dataset":
    """The rows of the Arrow files of a folder, one file after another, memory-mapped."""
    with undisturbed():
        from datasets import Dataset, concatenate_datasets

    return concatenate_datasets([Dataset.from_file(str(path)) for path in sorted(folder.glob("*.arrow"))])


def _made(folder: Path, make: Callable[[Path], None], load: Callable[[Path], T]) -> T | None:
    if folder.exists():
        log.warning("%s is damaged and is made anew", folder)
    sweep(folder.parent)
    with whole_folder(folder) as working:
        make(working)
        files = {path.name: digest(path) for path in sorted(working.iterdir())}
        (working / _MANIFEST).write_text(json.dumps(files))
    return _load(folder, load)


def _load(folder: Path, load: Callable[[Path], T]) -> T | None:
    try:
        files = read_json(folder / _MANIFEST)
        if {path.name for path in folder.iterdir()} != {_MANIFEST, *files}:
            return None
        if any(digest(folder / name) != expected for name, expected in files.items()):
            return None
        return load(folder)
    except (OSError, ValueError, XMCError, pa.ArrowException):
        return None
