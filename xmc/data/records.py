"""Records of JSON, CSV, TSV, Excel and Parquet files, and the id, the text and the labels that each holds."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from xmc.data.columnar import parquet_rows, sheet_rows
from xmc.data.delimited import AS_FOUND, Dialect, delimited
from xmc.data.files import listing, near_misses, open_bytes
from xmc.data.label_cells import advice, cell_labels
from xmc.data.lines import json_lines
from xmc.errors import XMCError

log = logging.getLogger(__name__)

_SAMPLE = 1000
FORMATS = ("jsonl", "ndjson", "json", "csv", "tsv", "xlsx", "parquet")
COMPRESSIONS = ("gz", "bz2", "xz", "zst")

Record = Mapping[str, Any]
"""Values by field. One that cannot be read is the error of whoever asks for it."""


def format_of(path: Path, known: Sequence[str] = FORMATS) -> str | None:
    """The format a file's name tells, `train.jsonl.gz` as `train.jsonl`; None for a name that tells none known."""
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in known else None


def records(path: Path, dialect: Dialect = AS_FOUND) -> Iterator[tuple[int, Record | XMCError]]:
    """Number of each record, the line it begins in, from 1 (in Excel and Parquet its row), and its fields or what is
    wrong. dialect: of CSV and TSV.

    Raises XMCError for what makes the rest of the file unreadable, and for a column that stands twice.
    """
    kind = format_of(path)
    if kind is None:
        raise XMCError(
            f"{path}: format not known; expected a name in .{', .'.join(FORMATS)}, .gz and the like behind it"
        )
    with open_bytes(path) as stream:
        if kind == "parquet":
            yield from parquet_rows(path, stream)
        elif kind == "xlsx":
            yield from sheet_rows(path, stream)
        elif kind in ("csv", "tsv"):
            yield from delimited(stream, str(path), tabs=kind == "tsv", dialect=dialect)
        else:
            yield from json_lines(stream, str(path))


def usable(record: Record | XMCError) -> Record:
    """The record; raises what is wrong with it."""
    if isinstance(record, XMCError):
        raise record
    return record


def text_of(record: Record, fields: Sequence[str], separator: str, where: str, section: str = "data.") -> str:
    """The text fields that are not empty, joined; XMCError where all are. section: of the settings, for messages."""
    text = joined(record, fields, separator, where, section)
    if not text:
        names = " and ".join(map(repr, fields))
        raise XMCError(f"{where}: empty text: nothing in {names}{_which(record)}; give it a text or remove it")
    return text


def joined(record: Record, fields: Sequence[str], separator: str, where: str, section: str = "data.") -> str:
    """The text fields that are not empty, joined; one may be a list of texts."""
    parts = []
    for field in fields:
        value = _value(record, field, where, f"{section}text_fields=<field>, or =[<field>,<field>]")
        for text in value if isinstance(value, list) else [value]:
            if text is not None and not isinstance(text, str):
                raise XMCError(f"{where}: field {field!r} is {_kind(value)}; expected a text, or a list of texts")
            if text and not text.isspace():
                parts.append(text)
    return separator.join(parts)


def id_of(record: Record, field: str, where: str, section: str = "data.") -> str:
    """The document id, a text or a whole number."""
    numbers = f"{section}id_field{'=null' if section else '='} numbers the documents"
    value = _value(record, field, where, f"{section}id_field=<field>; {numbers}")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise XMCError(
            f"{where}: field {field!r} is {_kind(value)}; expected an id: a text or a whole number. {numbers}"
        )
    return str(value)


def labels_of(record: Record, field: str, separator: str, where: str, section: str = "data.") -> list[str]:
    """The label ids: a list, one whole number, or a text (see `cell_labels`). Nothing and null mean no labels."""
    value = _value(record, field, where, f"{section}label_field=<field>")
    if isinstance(value, str):
        return cell_labels(value, separator, f"{where}: field {field!r}")
    given = value if isinstance(value, list) else [value]
    labels = [label for label in given if label is not None]
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
            raise XMCError(f"{where}: {label!r:.40} in field {field!r} is no label id; expected texts or whole numbers")
    return [str(label) for label in labels]


def advise_on_labels(path: Path, field: str, separator: str, option: str, dialect: Dialect = AS_FOUND) -> None:
    """Log what to do where the label texts of a file, judged by its first records, are hardly divided as they should.

    option: that of the separator, for the message.
    """
    first = islice(records(path, dialect), _SAMPLE)
    sample = (record.get(field) for _, record in first if not isinstance(record, XMCError))
    if told := advice([value for value in sample if isinstance(value, str)], separator, option):
        log.warning("%s: field %r: %s", path, field, told)


def _value(record: Record, field: str, where: str, option: str) -> Any:
    if field not in record:
        hint = near_misses(field, list(record))
        raise XMCError(f"{where}: no field {field!r}{hint}; it has: {listing(record)}. Set {option}")
    if isinstance(value := record[field], XMCError):
        raise XMCError(f"{where}: field {field!r} {value}")
    return value


def _kind(value: object) -> str:
    return "null" if value is None else f"{value!r:.40}"


def _which(record: Record) -> str:
    return f" of document {record['id']!r}" if "id" in record else ""
