"""Opening the user's files, and telling what is wrong with them."""

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, ParamSpec, TypeVar, cast

from xmc.data.encodings import guessed, marked, recoded
from xmc.data.json_array import array_items
from xmc.errors import XMCError
from xmc.spelling import did_you_mean
from xmc.storage import home_expanded, parse_json

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_LONGEST = 2**28  # bytes of a line
_LONG_NAME = 100  # characters

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a file that is cut short or otherwise damaged raises."""


def near_misses(given: str, known: Collection[str]) -> str:
    """` (did you mean 'a' or 'b'?)`, or nothing where no known name is near."""
    return f" ({told})" if (told := did_you_mean(given, known, most=3)) else ""


def listing(names: Iterable[str], limit: int = 12) -> str:
    """A few sorted names for a message, none in full that is very long."""
    ordered = [name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}..." for name in sorted(names)]
    return ", ".join(ordered[:limit]) + (f", ... ({len(ordered)} in all)" if len(ordered) > limit else "") or "nothing"


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
        raise XMCError(f"{given} cannot be opened ({_reason(error)})") from None


def utf8(raw: bytes, where: str) -> str:
    """`raw` decoded; `where` is its file:line."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        name = where.rpartition(":")[0]
        named = f" {quote(name)}" if Path(name).is_file() and Path(name).suffix.lower() not in _COMPRESSED else ""
        raise XMCError(
            f"{where}: not UTF-8 ({error}); convert the file, e.g. with `iconv -f {guessed(raw)} -t utf-8{named}`"
        ) from None


def text_line(raw: bytes, where: str) -> str:
    """A line decoded, without a byte order mark and without its end, of Unix or of Windows."""
    return utf8(raw, where).removeprefix("\ufeff").rstrip("\r\n")


def attempt(make: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> A | XMCError:
    """What `make` gives, or the error that it raises."""
    try:
        return make(*args, **kwargs)
    except XMCError as error:
        return error


def json_lines(stream: Iterable[bytes], name: str) -> Iterator[tuple[int, dict[str, Any] | XMCError]]:
    """Line of each object, and the object or what is wrong with it; `name` is the file's.

    An object a line or, where the first that is not blank begins with a bracket, those of an array.
    """

    def record(raw: bytes, where: str) -> dict[str, Any]:
        return json_object(text_line(raw, where), where)

    lines = numbered_lines(stream, name)
    first = next(((number, raw) for number, raw in lines if raw.removeprefix(BOM_UTF8).strip()), None)
    if first is None:
        return
    lines = chain([first], lines)
    if first[1].removeprefix(BOM_UTF8).lstrip().startswith(b"["):
        texts = ((number, text_line(raw, f"{name}:{number}")) for number, raw in lines)
        for number, text in array_items(texts, name):
            yield number, attempt(json_object, text, f"{name}:{number}")
        return
    for number, raw in lines:
        if raw.strip():
            yield number, attempt(record, raw, f"{name}:{number}")


def json_object(line: str, where: str) -> dict[str, Any]:
    """The object of a line of JSON; `where` is its file:line."""
    line = line.strip()
    try:
        record = parse_json(line, where)
    except XMCError as error:
        raise XMCError(f"{error}; expected one JSON object a line") from None
    if r"\ud" in line.lower() and not _encodable(record):
        raise XMCError(f"{where}: malformed JSON, half of a surrogate pair in a text; write the character in UTF-8")
    if not isinstance(record, dict):
        raise XMCError(f"{where}: expected a JSON object, found {_excerpt(line, 0)!r}")
    return record


def side_by_side(left: Iterable[A], right: Iterable[B], names: tuple[object, object]) -> Iterator[tuple[A, B]]:
    """Line i of two files for each i; XMCError, with both counts, where one of them has more lines."""
    pairs = zip_longest(left, right)
    for row, (one, other) in enumerate(pairs):
        if one is None or other is None:
            longer = row + 1 + sum(1 for _ in pairs)
            counts = (longer, row) if other is None else (row, longer)
            raise XMCError(
                f"{names[0]} has {counts[0]} lines, {names[1]} has {counts[1]}; "
                "line i of both must be the same document"
            )
        yield one, other


def numbered_lines(stream: Iterable[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Line number, from 1, and bytes of each line of a file that may turn out to be damaged, or to have no lines.

    What is in UTF-16 or UTF-32 becomes UTF-8.
    """
    number = 0
    try:
        for number, line in enumerate(_lines(stream), 1):
            if len(line) > _LONGEST:
                raise XMCError(f"{name}:{number}: a line of more than {_LONGEST:,} bytes; expected a document a line")
            yield number, line
    except (*DAMAGED, UnicodeDecodeError) as error:
        raise XMCError(f"{name}: cannot be read beyond line {number} ({_reason(error)}); is it complete?") from None


def peekable(stream: BinaryIO) -> io.BufferedReader:
    """A stream whose next bytes can be seen before they are read."""
    return cast(io.BufferedReader, stream if hasattr(stream, "peek") else io.BufferedReader(cast(io.RawIOBase, stream)))


def _lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Of a file without a single line feed those that carriage returns end, as on old Macs."""
    lines = _of_stream(cast(BinaryIO, stream)) if isinstance(stream, io.IOBase) else iter(stream)
    first = next(lines, b"")
    yield from [first] if first.endswith(b"\n") or len(first) > _LONGEST else first.splitlines(keepends=True)
    yield from lines


def _of_stream(stream: BinaryIO) -> Iterator[bytes]:
    stream = peekable(stream)
    encoding = marked(stream.peek(4)[:4])
    return recoded(stream, encoding, _LONGEST) if encoding else iter(partial(stream.readline, _LONGEST + 1), b"")


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
        raise XMCError(f"{path} cannot be opened ({_reason(error)})") from None
    return True


def _names(folder: Path) -> list[str]:
    """What a folder holds, for a message."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _excerpt(line: str, position: int, width: int = 40) -> str:
    return line[max(0, position - width // 2) : position + width].strip()


def _encodable(record: object) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
