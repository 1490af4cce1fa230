"""Rows of Parquet files and of Excel's sheets."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from zipfile import BadZipFile

from xmc.data.delimited import check_columns
from xmc.data.lines import DAMAGED
from xmc.errors import XMCError, said

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

_BATCH = 1000  # rows


def parquet_rows(path: Path, stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number, from 1, and values of each row; labels of the classes that datasets has written are their names.

    Raises XMCError for what makes the rest of the file unreadable, and for a column that stands twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        file = pq.ParquetFile(stream)
        check_columns(file.schema_arrow.names, str(path))
        named = _names_of_classes(file.schema_arrow)
        for batch in file.iter_batches(batch_size=_BATCH):
            for record in map(named, _rows(batch)):
                number += 1
                yield number, record
    except (pa.ArrowException, *DAMAGED) as error:
        raise XMCError(f"{path}: cannot be read beyond row {number} ({said(error)}); is it complete?") from None


def sheet_rows(path: Path, stream: BinaryIO) -> Iterator[tuple[int, dict[str, str] | XMCError]]:
    """Number and cells, as texts, of each row of the first sheet that is not empty, by the names in the first of them.

    Raises XMCError where the file is no workbook, a column stands twice, or openpyxl is missing.
    """
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise XMCError(f"{path}: reading Excel needs the package openpyxl: pip install 'xmc[excel]'") from None
    header: list[str] = []
    try:
        sheet = load_workbook(stream, read_only=True, data_only=True).worksheets[0]
        sheet.reset_dimensions()  # which other programs write wrongly
        for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
            row = [_cell(value) for value in cells]
            if not any(row):
                continue
            if not header:
                header = [name.strip() for name in row]
                check_columns(header, f"{path}:{number}")
            elif any(row[len(header) :]):
                yield number, XMCError(f"{path}:{number}: {len(row)} cells; the header has {len(header)}")
            else:
                yield number, dict(zip(header, row + [""] * (len(header) - len(row)), strict=False))
    except (BadZipFile, InvalidFileException, KeyError, IndexError, ValueError, *DAMAGED) as error:
        raise XMCError(f"{path}: cannot be read as a workbook of Excel ({said(error)}); is it complete?") from None


def names_of_classes(features: "Features") -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Replaces, in a record of Hugging Face's datasets, numbers of classes by lists of their names."""
    from datasets import ClassLabel

    names: dict[str, ClassLabel] = {}
    for column, feature in features.items():
        inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else feature)
        if isinstance(inner, ClassLabel):
            names[column] = inner

    def called(value: Any, of: ClassLabel) -> list[str]:
        numbers = value if isinstance(value, list) else [value]
        return [of.names[number] for number in numbers if number is not None and 0 <= number < of.num_classes]

    def named(record: dict[str, Any]) -> dict[str, Any]:
        return record | {column: called(record[column], of) for column, of in names.items() if column in record}

    return named if names else lambda record: record


def _names_of_classes(schema: "pa.Schema") -> Callable[[dict[str, Any]], dict[str, Any]]:
    if b"ClassLabel" not in (schema.metadata or {}).get(b"huggingface", b""):
        return lambda record: record
    from datasets import Features

    return names_of_classes(Features.from_arrow_schema(schema))


def _cell(value: object) -> str:
    """As Excel shows it, but for formats of numbers and dates."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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
