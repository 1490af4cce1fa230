"""Records of JSON, CSV, TSV, Excel and Parquet files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xmc.data.columnar import parquet_rows, sheet_rows
from xmc.data.delimited import AS_FOUND, Dialect, delimited
from xmc.data.files import json_lines, open_bytes
from xmc.errors import XMCError

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
