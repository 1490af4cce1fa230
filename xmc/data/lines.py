"""Lines of files and of standard input, numbered and decoded, and the JSON objects in them."""

import io
import json
import lzma
import os
import re
import select
import stat
import sys
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, ParamSpec, TypeVar, cast

from xmc.data.encodings import guessed, marked, recoded
from xmc.errors import XMCError
from xmc.storage import parse_json

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")

_decoder = json.JSONDecoder()
_BLANK = " \t\r\n"
_END = re.compile(r"\s*\[?\s*\]\s*")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_LONGEST = 2**28  # bytes of a line
_LINE_FEED = b"\n"
_PART = 1 << 16  # bytes of standard input that are read at a time

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a file that is cut short or otherwise damaged raises."""


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
        for number, text in _array_items(texts, name):
            yield number, attempt(json_object, text, f"{name}:{number}")
        return
    for number, raw in lines:
        if raw.strip():
            yield number, attempt(record, raw, f"{name}:{number}")


def _array_items(lines: Iterable[tuple[int, str]], name: str) -> Iterator[tuple[int, str]]:
    """The line in which each object of an array begins, and its text. name: the file's.

    No more is held than the lines of one object. Raises XMCError for what makes the rest of the file unreadable.
    """
    pending: list[str] = []
    first, before = 1, "["
    for number, line in lines:
        first = first if pending else number
        pending.append(line)
        if not line.rstrip(f"{_BLANK},]").endswith("}"):
            continue
        text, place = "\n".join(pending), 0
        while (begin := _begin(text, place, before)) is not None:
            where = f"{name}:{first + text.count(chr(10), 0, begin)}"
            try:
                end = _decoder.raw_decode(text, begin)[1]
            except json.JSONDecodeError as error:
                if error.pos >= len(text.rstrip()):
                    break
                raise XMCError(f"{where}: malformed JSON, {error.msg}: {text[error.pos :][:40]!r}") from None
            except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
                raise XMCError(f"{where}: malformed JSON, nested too deep or with a number too long") from None
            yield first + text.count("\n", 0, begin), text[begin:end]
            place, before = end, ","
        first += text.count("\n", 0, place)
        pending = text[place:].split("\n")
    if not _END.fullmatch(rest := "\n".join(pending)):
        found = rest.strip(f"{_BLANK},[")
        raise XMCError(f"{name}:{first}: malformed JSON, expected an array of objects to its end, found {found!r:.40}")


def _begin(text: str, place: int, before: str) -> int | None:
    """Where the next object begins, behind the bracket or the comma before it; None where there is none yet."""
    found = re.compile(rf"\s*{re.escape(before)}\s*(?=\{{)").match(text, place)
    return found.end() if found else None


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
        raise XMCError(f"{where}: expected a JSON object, found {line[:40].strip()!r}")
    return record


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
        raise XMCError(f"{name}: cannot be read beyond line {number} ({reason_of(error)}); is it complete?") from None


def text_line(raw: bytes, where: str) -> str:
    """A line decoded, without a byte order mark and without its end, of Unix or of Windows."""
    return utf8(raw, where).removeprefix("\ufeff").rstrip("\r\n")


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


def attempt(make: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> A | XMCError:
    """What `make` gives, or the error that it raises."""
    try:
        return make(*args, **kwargs)
    except XMCError as error:
        return error


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


def reason_of(error: Exception) -> str:
    """What went wrong, in short."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


class Arriving(io.BufferedIOBase):
    """Lines of a pipe or a terminal, of which can be told whether the next one is there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = bytearray()
        self._searched = 0  # bytes of it that have no line feed
        self._ended = False

    def readline(self, size: int | None = -1) -> bytes:
        """The next line, or its first `size` bytes; empty at the end."""
        limit = sys.maxsize if size is None or size < 0 else size
        while (end := self._end_of_line()) < 0 and len(self._held) < limit and not self._ended:
            self._read()
        return self._taken(min(len(self._held) if end < 0 else end, limit))

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        """The first bytes of what comes, so many where the first line has them."""
        while len(self._held) < size and self._end_of_line() < 0 and not self._ended:
            self._read()
        return bytes(self._held[:size])

    def read1(self, size: int = -1) -> bytes:
        """What is held, or else what comes next, of it `size` bytes at most."""
        if not self._held and not self._ended:
            self._read()
        return self._taken(len(self._held) if size < 0 else min(size, len(self._held)))

    def ready(self) -> bool:
        """Whether a whole line is there, or the end, so that `readline` would not wait."""
        while (end := self._end_of_line()) < 0 and not self._ended:
            if not select.select([self._descriptor], [], [], 0)[0]:
                return False
            self._read()
        return end >= 0 or self._ended

    def _taken(self, length: int) -> bytes:
        part = bytes(self._held[:length])
        del self._held[:length]
        self._searched = 0
        return part

    def _end_of_line(self) -> int:
        """Bytes of the first line that is held, -1 where none is whole."""
        found = self._held.find(_LINE_FEED, self._searched)
        if found < 0:
            self._searched = len(self._held)
            return -1
        return found + 1

    def _read(self) -> None:
        part = os.read(self._descriptor, _PART)
        self._held += part
        self._ended = not part


def standard_input() -> BinaryIO | Arriving:
    """Standard input; as it arrives where it is no file."""
    stream = sys.stdin.buffer
    try:
        descriptor = stream.fileno()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return stream
    except (OSError, ValueError):  # a stream of Python's own
        return stream
    return Arriving(descriptor)


def _lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Of a file without a single line feed those that carriage returns end, as on old Macs."""
    lines = _of_stream(cast(BinaryIO, stream)) if isinstance(stream, io.IOBase) else iter(stream)
    first = next(lines, b"")
    yield from [first] if first.endswith(b"\n") or len(first) > _LONGEST else first.splitlines(keepends=True)
    yield from lines


def _of_stream(stream: BinaryIO) -> Iterator[bytes]:
    """A file, or a stream whose next bytes can be seen before they are read."""
    seen = stream if hasattr(stream, "peek") else io.BufferedReader(cast(io.RawIOBase, stream))
    encoding = marked(cast(io.BufferedReader, seen).peek(4)[:4])
    return recoded(seen, encoding, _LONGEST) if encoding else iter(partial(seen.readline, _LONGEST + 1), b"")


def _encodable(record: object) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
