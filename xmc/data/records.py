"""Records of JSON lines, CSV, TSV and Parquet files, and the document that a record holds."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from xmc.data.files import file, json_lines, listing, near_misses, numbered_lines, open_bytes, utf8
from xmc.types import XMCError

FORMATS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")
COMPRESSIONS = ("gz", "bz2", "xz", "zst")
SPLITS = ("train", "dev", "test")

Record = Mapping[str, Any]


def format_of(path: Path, known: Sequence[str] = FORMATS) -> str | None:
    """The format a file's name tells, `train.jsonl.gz` as `train.jsonl`; None for a name that tells none known."""
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in known else None


def split_files(
    folder: Path,
    files: Mapping[str, str | Path],
    formats: Sequence[str],
    is_of: Callable[[str, str], bool] = str.__eq__,
) -> dict[str, Path]:
    """The file of each split: as `files` says, else the one that is named after the split, in one of the formats.

    is_of: whether a name, up to its first dot, is that of a split.
    """
    for split in files:
        if split not in SPLITS:
            raise XMCError(f"data.files: no split {split!r}{near_misses(split, SPLITS)}; known: {', '.join(SPLITS)}")
    found = {}
    for split in SPLITS:
        if split in files:
            found[split] = file(folder / files[split])
            continue
        candidates = sorted(
            path for path in folder.iterdir() if is_of(path.name.split(".")[0], split) and format_of(path, formats)
        )
        if len(candidates) > 1:
            names = " and ".join(path.name for path in candidates)
            raise XMCError(f"{folder} has {names}; say which one is {split}: data.files.{split}={candidates[0].name}")
        if candidates:
            found[split] = candidates[0]
    if "train" not in found:
        present = listing(path.name for path in folder.iterdir())
        raise XMCError(
            f"{folder} has no train.{{{','.join(formats)}}}, plain or .{'/.'.join(COMPRESSIONS)}; it has: {present}. "
            "Set data.files.train"
        )
    return found


def records(path: Path) -> Iterator[tuple[int, Record | XMCError]]:
    """Number of each record, the line it begins in, from 1 (in Parquet its row), and its fields or what is wrong.

    Raises XMCError for what makes the rest of the file unreadable.
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
            yield from _delimited(stream, str(path), tabs=kind == "tsv")
        else:
            yield from json_lines(stream, str(path))


def usable(record: Record | XMCError) -> Record:
    """The record; raises what is wrong with it."""
    if isinstance(record, XMCError):
        raise record
    return record


def _delimited(stream: Iterable[bytes], name: str, tabs: bool) -> Iterator[tuple[int, Record | XMCError]]:
    """CSV with quotes, or TSV without: a tab or a line break cannot stand inside a field there."""
    csv.field_size_limit(2**31 - 1)  # the default refuses texts beyond 128 KiB
    lines = (utf8(raw, f"{name}:{number}") for number, raw in numbered_lines(stream, name))
    reader = csv.reader(lines, "excel-tab", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise XMCError(f"{name}:{number}: malformed {'TSV' if tabs else 'CSV'} ({error})") from None
        if not row:
            continue
        if header is None:
            header = [field.removeprefix("\ufeff") for field in row]
        elif len(row) != len(header):
            told = f"{len(row)} fields; the header has {len(header)}: {', '.join(header)}"
            yield number, XMCError(f"{name}:{number}: {told}")
        else:
            yield number, dict(zip(header, row, strict=True))


def _parquet(path: Path, stream: BinaryIO) -> Iterator[tuple[int, Record]]:
    number = 0
    try:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=1000):
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (pa.ArrowException, OSError) as error:
        raise XMCError(f"{path}: cannot be read beyond row {number} ({error}); is it complete?") from None


def text_of(record: Record, fields: Sequence[str], separator: str, where: str) -> str:
    """The text fields that are not empty, joined; XMCError where all are."""
    text = joined(record, fields, separator, where)
    if not text:
        names = " and ".join(map(repr, fields))
        raise XMCError(f"{where}: empty text: nothing in {names}{_which(record)}; give it a text or remove it")
    return text


def joined(record: Record, fields: Sequence[str], separator: str, where: str) -> str:
    """The text fields that are not empty, joined; one may be a list of texts."""
    parts = []
    for field in fields:
        value = _value(record, field, where, "data.text_fields")
        for text in value if isinstance(value, list) else [value]:
            if text is not None and not isinstance(text, str):
                raise XMCError(f"{where}: field {field!r} is {_kind(value)}; expected a text, or a list of texts")
            if text and not text.isspace():
                parts.append(text)
    return separator.join(parts)


def id_of(record: Record, field: str, where: str) -> str:
    """The document id, a text or a whole number."""
    value = _value(record, field, where, "data.id_field (null numbers the documents)")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise XMCError(f"{where}: field {field!r} is {_kind(value)}; expected an id: a text or a whole number")
    return str(value)


def labels_of(record: Record, field: str, separator: str, where: str) -> list[str]:
    """The label ids: a list, or a text that `separator` divides. An empty one means no labels."""
    value = _value(record, field, where, "data.label_field")
    if isinstance(value, str):
        return [label for part in value.split(separator) if (label := part.strip())]
    if not isinstance(value, list):
        raise XMCError(
            f"{where}: field {field!r} is {_kind(value)}; expected a list of label ids or a text, [] for no labels"
        )
    for label in value:
        if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
            raise XMCError(f"{where}: {label!r} in field {field!r} is no label id; expected texts or whole numbers")
    return [str(label) for label in value]


def _value(record: Record, field: str, where: str, option: str) -> Any:
    if field not in record:
        hint = near_misses(field, list(record))
        raise XMCError(f"{where}: no field {field!r}{hint}; it has: {listing(record)}. Set {option}")
    return record[field]


def _kind(value: object) -> str:
    return "null" if value is None else f"{value!r:.40}"


def _which(record: Record) -> str:
    return f" of document {record['id']!r}" if "id" in record else ""
