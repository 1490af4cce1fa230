"""Opening the user's files, and telling what is wrong with them."""

import bz2
import errno
import gzip
import io
import lzma
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar, cast

from xmc.data.lines import numbered_lines, reason_of, text_line
from xmc.errors import XMCError
from xmc.spelling import did_you_mean
from xmc.storage import home_expanded

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")

FORMATS = ("jsonl", "ndjson", "json", "csv", "tsv", "xlsx", "parquet")
COMPRESSIONS = ("gz", "bz2", "xz", "zst")
_LONG_NAME = 100  # characters


def near_misses(given: str, known: Collection[str]) -> str:
    """` (did you mean 'a' or 'b'?)`, or nothing where no known name is near."""
    return f" ({told})" if (told := did_you_mean(given, known, most=3)) else ""


def listing(names: Iterable[str], limit: int = 12) -> str:
    """A few sorted names for a message, none in full that is very long."""
    ordered = [name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}..." for name in sorted(names)]
    return ", ".join(ordered[:limit]) + (f", ... ({len(ordered)} in all)" if len(ordered) > limit else "") or "nothing"


def format_of(path: Path, known: Sequence[str] = FORMATS) -> str | None:
    """The format a file's name tells, `train.jsonl.gz` as `train.jsonl`; None for a name that tells none known."""
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in known else None


def folder(path: str | Path) -> Path:
    """`path` as an existing folder."""
    given = home_expanded(path)
    if _exists(given):
        if not given.is_dir():
            raise XMCError(f"{given} is a file; expected the folder that holds the data files (data.root)")
        if not os.access(given, os.R_OK | os.X_OK):
            raise XMCError(f"{given} cannot be read ({os.strerror(errno.EACCES)}); permit it, or set data.root")
        return given
    parent = next(parent for parent in given.absolute().parents if parent.is_dir())
    present = [name for name in _names(parent) if (parent / name).is_dir()]
    missing = given.absolute().relative_to(parent).parts[0]
    raise XMCError(
        f"no folder {given}{near_misses(missing, present)}; {parent} has the folders: {listing(present)}. Set data.root"
    )


def file(path: str | Path) -> Path:
    """`path` as an existing file."""
    given = home_expanded(path)
    if _exists(given):
        if not given.is_file():
            raise XMCError(f"{given} is {'a folder' if given.is_dir() else 'no regular file'}; expected a file")
        return given
    beside = given.parent
    if not beside.is_dir():
        raise XMCError(f"no file {given}: there is no folder {beside}")
    present = _names(beside)
    raise XMCError(f"no file {given}{near_misses(given.name, present)}; {beside} has: {listing(present)}")


def within(root: Path, name: str) -> Path:
    """What a name of the user's means: a path from the folder, else from here, as a shell completes it."""
    path, here = root / name, home_expanded(name)
    return here if not _exists(path) and _exists(here) else path


def changed(path: Path) -> XMCError:
    """The error of a file that is not now what it was when its reading began."""
    return XMCError(f"{path} changed while it was read; repeat the command when nothing writes to it any more")


def first_file(folder: Path, *names: str) -> Path | None:
    """The first of these names that is a file in the folder, None where there is none."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def open_bytes(path: str | Path) -> BinaryIO:
    """A file to read, decompressed by the suffix of its name (.gz, .bz2, .xz, .zst)."""
    given = file(path)
    try:
        match given.suffix.lower():
            case ".gz":
                return cast(BinaryIO, gzip.open(given))
            case ".bz2":
                return cast(BinaryIO, bz2.open(given))
            case ".xz":
                return cast(BinaryIO, lzma.open(given))
            case ".zst":
                import pyarrow as pa

                return io.BufferedReader(pa.input_stream(str(given), compression="zstd"))
        return given.open("rb")
    except OSError as error:
        raise XMCError(f"{given} cannot be opened ({reason_of(error)})") from None


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number, from 1, and text of each line of a file that is UTF-8 throughout, decompressed as `open_bytes`.

    Raises XMCError where the file changes meanwhile.
    """
    with open_bytes(path) as stream:
        before = _state(path)
        for number, raw in numbered_lines(stream, str(path)):
            yield number, text_line(raw, f"{path}:{number}")
    if _state(path) != before:
        raise changed(path)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _exists(path: Path) -> bool:
    """Whether there is something; XMCError where that cannot be told, or where a link leads nowhere."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise XMCError(f"{path} is a link to {os.readlink(path)}, which is not there") from None
        return False
    except (OSError, ValueError) as error:
        raise XMCError(f"{path} cannot be opened ({reason_of(error)})") from None
    return True


def _names(folder: Path) -> list[str]:
    """What a folder holds, for a message."""
    try:
        return os.listdir(folder)
    except OSError:
        return []
