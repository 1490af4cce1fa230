"""Records of JSON lines, CSV, TSV and Parquet files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from xmc.data.delimited import check_columns, delimited
from xmc.data.files import DAMAGED, json_lines, open_bytes
from xmc.errors import XMCError, said

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")
COMPRESSIONS = ("gz", "bz2", "xz", "zst")

Record = Mapping[str, Any]
"""Values by field. One that cannot be read is the error of whoever asks for it."""


def format_of(path: Path, known: Sequence[str] = FORMATS) -> str | None:
    """The format a file's name tells, `train.jsonl.gz` as `train.jsonl`; None for a name that tells none known."""
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in known else None


def records(path: Path) -> Iterator[tuple[int, Record | XMCError]]:
    """Number of each record, the line it begins in, from 1 (in Parquet its row), and its fields or what is wrong.

    Raises XMCError for what makes the rest of the file unreadable, and for a column that stands twice.
    """
    kind = format_of(path)
    if kind is None:
        raise XMCError(
            f"{path}: format not known; expected a name in .{', .'.join(FORMATS)}, .gz and the like behind it"
        )
    with open_bytes(path) as stream:
        if kind == "parquet":
            yield from _parquet(path, stream)
        elif kind in ("csv", "tsv"):
            yield from delimited(stream, str(path), tabs=kind == "tsv")
        else:
            yield from json_lines(stream, str(path))


def usable(record: Record | XMCError) -> Record:
    """The record; raises what is wrong with it."""
    if isinstance(record, XMCError):
        raise record
    return record


def _parquet(path: Path, stream: BinaryIO) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        file = pq.ParquetFile(stream)
        check_columns(file.schema_arrow.names, str(path))
        for batch in file.iter_batches(batch_size=1000):
            for record in _rows(batch):
                number += 1
                yield number, record
    except (pa.ArrowException, *DAMAGED) as error:
        raise XMCError(f"{path}: cannot be read beyond row {number} ({said(error)}); is it complete?") from None


def _rows(batch: "pa.RecordBatch") -> list[dict[str, Any]]:
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):  # a text that is not UTF-8, a date out of range
        names = batch.schema.names
        return [{name: _value(batch.column(name)[row]) for name in names} for row in range(len(batch))]


def _value(scalar: "pa.Scalar") -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError) as error:
        return XMCError(f"cannot be read ({said(error)})")
