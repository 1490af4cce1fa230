"""Opening the user's files, and telling what is wrong with them."""

import bz2
import gzip
import io
import json
import lzma
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar, cast

import pyarrow as pa

from xmc.types import XMCError

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a file that is cut short or otherwise damaged raises."""


def near_misses(given: str, known: Collection[str]) -> str:
    """` (did you mean 'a' or 'b'?)`, or nothing where no known name is near; upper case is near lower case."""
    plain = {name.strip().lower(): name for name in known}
    close = [plain[name] for name in get_close_matches(given.strip().lower(), plain, n=3, cutoff=0.6)]
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def listing(names: Iterable[str], limit: int = 12) -> str:
    """A few sorted names for a message."""
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (f", ... ({len(ordered)} in all)" if len(ordered) > limit else "") or "nothing"


def folder(path: str | Path) -> Path:
    """`path` as an existing folder."""
    given = Path(path).expanduser()
    if given.is_dir():
        return given
    if given.exists():
        raise XMCError(f"{given} is a file; expected the folder that holds the data files (data.root)")
    parent = next(parent for parent in given.absolute().parents if parent.is_dir())
    present = [entry.name for entry in parent.iterdir() if entry.is_dir()]
    missing = given.absolute().relative_to(parent).parts[0]
    raise XMCError(
        f"no folder {given}{near_misses(missing, present)}; {parent} has the folders: {listing(present)}. Set data.root"
    )


def file(path: str | Path) -> Path:
    """`path` as an existing file."""
    given = Path(path).expanduser()
    if given.is_file():
        return given
    if given.is_dir():
        raise XMCError(f"{given} is a folder; expected a file")
    beside = given.parent
    if not beside.is_dir():
        raise XMCError(f"no file {given}: there is no folder {beside}")
    present = [entry.name for entry in beside.iterdir()]
    raise XMCError(f"no file {given}{near_misses(given.name, present)}; {beside} has: {listing(present)}")


def first_file(folder: Path, *names: str) -> Path | None:
    """The first of these names that is a file in the folder, None where there is none."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def open_bytes(path: str | Path) -> BinaryIO:
    """A file to read, decompressed by the suffix of its name (.gz, .bz2, .xz, .zst)."""
    given = file(path)
    match given.suffix.lower():
        case ".gz":
            return cast(BinaryIO, gzip.open(given))
        case ".bz2":
            return cast(BinaryIO, bz2.open(given))
        case ".xz":
            return cast(BinaryIO, lzma.open(given))
        case ".zst":
            return io.BufferedReader(pa.input_stream(str(given), compression="zstd"))
    return given.open("rb")


def utf8(raw: bytes, where: str) -> str:
    """`raw` decoded; `where` is its file:line."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise XMCError(f"{where}: not UTF-8 ({error}); convert the file, e.g. with `iconv -t utf-8`") from None


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
    """Line number of each line that is not blank, and its object or what is wrong with it; `name` is the file's."""

    def record(raw: bytes, where: str) -> dict[str, Any]:
        return json_object(text_line(raw, where), where)

    for number, raw in numbered_lines(stream, name):
        if raw.removeprefix(BOM_UTF8).strip():
            yield number, attempt(record, raw, f"{name}:{number}")


def json_object(line: str, where: str) -> dict[str, Any]:
    """The object of a line of JSON; `where` is its file:line."""
    line = line.strip()
    try:
        record = json.loads(line, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise XMCError(
            f"{where}: malformed JSON, {error.msg} at column {error.pos + 1}: {_excerpt(line, error.pos)!r}; "
            "expected one JSON object a line"
        ) from None
    except _TwiceError as key:
        raise XMCError(f"{where}: the key {key} stands twice in an object; rename or remove one") from None
    except RecursionError:
        raise XMCError(f"{where}: malformed JSON, nested too deep") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise XMCError(f"{where}: malformed JSON, {str(error).partition(';')[0]}") from None
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
    """Line number, from 1, and bytes of each line of a file that may turn out to be damaged."""
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            yield number, line
    except DAMAGED as error:
        raise XMCError(f"{name}: cannot be read beyond line {number} ({error}); is it complete?") from None


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number, from 1, and text of each line of a file that is UTF-8 throughout, decompressed as `open_bytes`."""
    with open_bytes(path) as stream:
        for number, raw in numbered_lines(stream, str(path)):
            yield number, text_line(raw, f"{path}:{number}")


class _TwiceError(Exception):
    """A key of an object that has it twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise _TwiceError(repr(next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)))
    return record


def _excerpt(line: str, position: int, width: int = 40) -> str:
    return line[max(0, position - width // 2) : position + width].strip()


def _encodable(record: object) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
