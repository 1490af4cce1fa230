"""Rows of CSV and TSV files as people save them: from spreadsheets, with a byte order mark, with quotes."""

import csv
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from xmc.data.encodings import decoded
from xmc.data.files import listing
from xmc.data.lines import numbered_lines
from xmc.errors import XMCError

_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?=\t|\Z)')
_QUOTES = "write a quote inside a quoted field twice, and quote a field that has commas, quotes or line breaks"
_DELIMITERS = ",;\t|"
_SAMPLE = 100  # lines
_LONGEST_NAME = 200  # characters of a column's
_Row = tuple[int, list[str]]
_Lines = Iterator[tuple[int, str]]


@dataclass(frozen=True)
class Dialect:
    """How a table of text is written; None: as its first lines tell.

    encoding: of one that is not in UTF-8. quote: the character around fields, or "none" where quotes are text.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None


AS_FOUND = Dialect()


def delimited(
    stream: Iterable[bytes], name: str, *, tabs: bool, dialect: Dialect = AS_FOUND
) -> Iterator[tuple[int, dict[str, str] | XMCError]]:
    """The line in which each row begins, and its fields by the names in the header or what is wrong with it.

    tabs: a field is likely to end at a tab, and quotes are likely to be text, as in TSV.

    Raises XMCError for a header that names a column twice, and for what makes the rest of the file unreadable.
    """
    rows = _rows(_decoded(stream, name, dialect.encoding), name, tabs, dialect)
    header: list[str] = []
    for number, row in rows:
        where = f"{name}:{number}"
        if not header:
            header = [name.strip() for name in row]
            check_columns(header, where)
            if long := next((name for name in header if len(name) > _LONGEST_NAME), None):
                raise XMCError(f"{where}: {long!r:.40} names no column; write a header there, such as id,text,labels")
        elif len(row) != len(header):
            yield number, XMCError(f"{where}: {_miscounted(row, header, tabs)}")
        elif any("\0" in field for field in row):
            yield number, XMCError(f"{where}: a NUL byte; is the file damaged?")
        else:
            yield number, dict(zip(header, row, strict=True))


def check_columns(names: Sequence[str], where: str) -> None:
    """Raise XMCError for a name that stands twice; columns without a name, as spreadsheets leave them, may."""
    if twice := [name for name, times in Counter(names).items() if times > 1 and name]:
        raise XMCError(f"{where}: the column {twice[0]!r} stands twice among {listing(names)}; rename or remove one")


def _decoded(stream: Iterable[bytes], name: str, encoding: str | None) -> _Lines:
    lines = ((n, raw.removeprefix(BOM_UTF8) if n == 1 else raw) for n, raw in numbered_lines(stream, name))
    return ((n, text.removeprefix("\ufeff") if n == 1 else text) for n, text in decoded(lines, name, encoding))


def _rows(lines: _Lines, name: str, tabs: bool, given: Dialect) -> Iterator[_Row]:
    """The header's row first."""
    sample = list(islice(lines, _SAMPLE))
    while sample and not sample[0][1].strip():
        del sample[0]
    if not sample:
        return
    delimiter = given.delimiter
    if told := re.fullmatch(r"sep=(.)\s*", sample[0][1]):  # as Excel has it
        delimiter = delimiter or told[1]
        del sample[0]
    delimiter = delimiter or _likely(sample[0][1] if sample else "", "\t" if tabs else ",")
    lines = chain(sample, lines)
    if tabs and delimiter == "\t" and given.quote is None:
        return (yield from _tsv_rows(lines))
    yield from _csv_rows(lines, name, delimiter, _quoting([line for _, line in sample], delimiter, given.quote))


def _likely(header: str, default: str) -> str:
    """The delimiter that makes the most columns of a header."""

    def columns(delimiter: str) -> int:
        return len(next(csv.reader([header], delimiter=delimiter), []))

    return max([default, *_DELIMITERS], key=columns)


def _quoting(sample: Sequence[str], delimiter: str, quote: str | None) -> dict[str, Any]:
    """As csv takes it: quotes are those of the header; inside of them they stand twice or, if that fails, escaped."""
    if quote == "none":
        return {"quoting": csv.QUOTE_NONE}
    fields = sample[0].strip().split(delimiter)
    single = all(re.fullmatch("'[^']*'", field) for field in fields)
    doubled = {"quotechar": quote or ("'" if single else '"')}
    escaped = doubled | {"doublequote": False, "escapechar": "\\"}
    if any(f"\\{doubled['quotechar']}" in line for line in sample):
        return max((doubled, escaped), key=lambda how: _regular(sample, delimiter, how))
    return doubled


def _regular(sample: Sequence[str], delimiter: str, quoting: Mapping[str, Any]) -> int:
    """How many rows of a sample have as many fields as the first."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        for row in csv.reader(sample, delimiter=delimiter, strict=True, **quoting):
            rows.append(row)
    return sum(len(row) == len(rows[0]) for row in rows)


def _csv_rows(lines: _Lines, name: str, delimiter: str, quoting: Mapping[str, Any]) -> Iterator[_Row]:
    csv.field_size_limit(2**31 - 1)  # the default refuses texts beyond 128 KiB
    numbers: list[int] = []

    def texts() -> Iterator[str]:
        for number, line in lines:
            numbers.append(number)
            yield line

    reader = csv.reader(texts(), delimiter=delimiter, strict=True, **quoting)
    while True:
        numbers.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise XMCError(f"{name}:{numbers[0]}: malformed CSV ({_plainly(error)}); {_QUOTES}") from None
        if row:
            yield numbers[0], row


def _plainly(error: csv.Error) -> str:
    told = str(error)
    if "unexpected end" in told:
        return "a quoted field begins and never ends"
    return "a carriage return that ends no line" if told.startswith("new-line") else told


def _tsv_rows(lines: Iterator[tuple[int, str]]) -> Iterator[_Row]:
    columns = None
    for number, line in lines:
        if line := line.rstrip("\r\n"):
            row = _tsv_row(line, columns)
            columns = columns or len(row)
            yield number, row


def _tsv_row(line: str, columns: int | None) -> list[str]:
    """The fields of a line of TSV, without the quotes of those that a spreadsheet quoted.

    A quoted field is one that begins and ends with a quote and has only doubled quotes inside. A tab inside of it
    divides nothing, unless the number of columns says otherwise. All other quotes are part of the text.
    """
    plain = line.split("\t")
    if '"' not in line:
        return plain
    fields, start = [], 0
    while start <= len(line):
        quoted = _QUOTED.match(line, start)
        length = quoted.end() - start if quoted else len(line[start:].partition("\t")[0])
        fields.append(_unquoted(line[start : start + length]))
        start += length + 1
    return [_unquoted(field) for field in plain] if len(plain) == columns != len(fields) else fields


def _unquoted(field: str) -> str:
    quoted = _QUOTED.fullmatch(field)
    return quoted[1].replace('""', '"') if quoted else field


def _miscounted(row: list[str], header: list[str], tabs: bool) -> str:
    told = f"{len(row)} fields; the header has {len(header)}: {', '.join(header)}"
    if tabs and len(row) < len(header) and row[-1].startswith('"'):
        told += ". A text with line breaks in quotes is read from CSV; save it so"
    return told
