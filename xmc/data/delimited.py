"""Rows of CSV and TSV files as people save them: from spreadsheets, with a byte order mark, with quotes."""

import csv
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from xmc.data.files import listing, numbered_lines, utf8
from xmc.errors import XMCError

_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?=\t|\Z)')
_QUOTES = "write a quote inside a quoted field twice, and quote a field that has commas, quotes or line breaks"
_Row = tuple[int, list[str]]


def delimited(stream: Iterable[bytes], name: str, *, tabs: bool) -> Iterator[tuple[int, dict[str, str] | XMCError]]:
    """The line in which each row begins, and its fields by the names in the header or what is wrong with it.

    Raises XMCError for a header that names a column twice, and for what makes the rest of the file unreadable.
    """
    decoded = _decoded(stream, name)
    rows = _tsv_rows(decoded) if tabs else _csv_rows(decoded, name)
    header: list[str] = []
    for number, row in rows:
        where = f"{name}:{number}"
        if not header:
            header = [name.strip() for name in row]
            _check_header(header, where, tabs)
        elif len(row) != len(header):
            yield number, XMCError(f"{where}: {_miscounted(row, header, tabs)}")
        elif any("\0" in field for field in row):
            yield number, XMCError(f"{where}: a NUL byte; is the file damaged, or in UTF-16? Expected UTF-8")
        else:
            yield number, dict(zip(header, row, strict=True))


def check_columns(names: Sequence[str], where: str) -> None:
    """Raise XMCError for a name that stands twice; columns without a name, as spreadsheets leave them, may."""
    if twice := [name for name, times in Counter(names).items() if times > 1 and name]:
        raise XMCError(f"{where}: the column {twice[0]!r} stands twice among {listing(names)}; rename or remove one")


def _decoded(stream: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    for number, raw in numbered_lines(stream, name):
        yield number, utf8(raw.removeprefix(BOM_UTF8) if number == 1 else raw, f"{name}:{number}")


def _csv_rows(lines: Iterator[tuple[int, str]], name: str) -> Iterator[_Row]:
    csv.field_size_limit(2**31 - 1)  # the default refuses texts beyond 128 KiB
    reader = csv.reader((line for _, line in lines), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise XMCError(f"{name}:{number}: malformed CSV ({_plainly(error)}); {_QUOTES}") from None
        if row:
            yield number, row


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


def _check_header(header: list[str], where: str, tabs: bool) -> None:
    check_columns(header, where)
    expected, others = ("tabs", ",;|") if tabs else ("commas", ";\t|")
    if len(header) == 1 and (other := next((mark for mark in others if mark in header[0]), None)):
        raise XMCError(
            f"{where}: the header has a single column, {header[0]!r:.80}; expected columns separated by {expected}, "
            f"not {other!r}: save the file so"
        )


def _miscounted(row: list[str], header: list[str], tabs: bool) -> str:
    told = f"{len(row)} fields; the header has {len(header)}: {', '.join(header)}"
    if tabs and len(row) < len(header) and row[-1].startswith('"'):
        told += ". A text with line breaks in quotes is read from CSV; save it so"
    return told
