"""Documents, read one at a time: the records of a file, and the id, the text and the labels that each holds."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from xmc.data.columnar import parquet_rows, sheet_rows
from xmc.data.delimited import AS_FOUND, Dialect, delimited
from xmc.data.encodings import decoded
from xmc.data.files import FORMATS, format_of, listing, near_misses, open_bytes
from xmc.data.formats import OnError
from xmc.data.label_cells import advice, cell_labels
from xmc.data.lines import attempt, json_lines, numbered_lines
from xmc.data.sources import TEXT, Source, Sources
from xmc.errors import XMCError

log = logging.getLogger(__name__)

T = TypeVar("T")
_SHOWN = 10  # skipped documents that are told one by one
_STREAM = "<stdin>"
_SAMPLE = 1000  # records by which labels are judged

Record = Mapping[str, Any]
"""Values by field. One that cannot be read is the error of whoever asks for it."""


def read_documents(
    source: Sources | Iterable[bytes],
    text_fields: Sequence[str],
    id_field: str | None = "id",
    text_separator: str = "\n",
    on_error: OnError = "error",
    dialect: Dialect = AS_FOUND,
) -> Iterator[tuple[str, str] | XMCError]:
    """Id and text of each document of files, or of a stream of JSON such as `sys.stdin.buffer`.

    A document without the id field is named by its line (in Parquet its row), of several files behind the file's name;
    a text file is a document that is named by the file. Nothing but the current document is held. on_error: see
    `settled`.

    Raises XMCError, naming file and line, for malformed JSON, a missing text field, an empty text and a damaged file.
    """

    def documents() -> Iterator[tuple[str, str] | XMCError]:
        if not isinstance(source, Sources):
            yield from _documents(json_lines(source, _STREAM), _STREAM, "", text_fields, id_field, text_separator)
            return
        for one in source:
            if format_of(one.path, (TEXT,)):
                yield attempt(_text_file, one, dialect.encoding)
            else:
                found = records(one.path, dialect)
                yield from _documents(found, str(one.path), one.prefix, text_fields, id_field, text_separator)

    return settled(documents(), str(source) if isinstance(source, Sources) else _STREAM, on_error)


def _documents(
    named: Iterator[tuple[int, Record | XMCError]],
    name: str,
    prefix: str,
    text_fields: Sequence[str],
    id_field: str | None,
    text_separator: str,
) -> Iterator[tuple[str, str] | XMCError]:
    """prefix: what stands before the number of a document without an id."""

    def document(number: int, given: Record | XMCError) -> tuple[str, str]:
        where, record = f"{name}:{number}", usable(given)
        has_id = id_field is not None and id_field in record
        id_ = id_of(record, str(id_field), where, "") if has_id else f"{prefix}{number}"
        return id_, text_of(record, text_fields, text_separator, where, "")

    for record in _ids_told(named, id_field, name):
        yield attempt(document, *record)


def _text_file(source: Source, encoding: str | None) -> tuple[str, str]:
    return source.name or source.path.name, text_of_file(source.path, encoding)


def text_of_file(path: Path, encoding: str | None) -> str:
    """The text of a file that is one document. encoding: where it is not in UTF-8; None: guessed.

    Raises XMCError where it is empty, or no text.
    """
    with open_bytes(path) as stream:
        lines = decoded(numbered_lines(stream, str(path)), str(path), encoding)
        text = "".join(line for _, line in lines).removeprefix("\ufeff")
    if not text.strip():
        raise XMCError(f"{path}: empty text; give it a text or remove it")
    return text


def read_examples(
    path: str | Path,
    text_fields: Sequence[str],
    label_field: str = "labels",
    *,
    label_separator: str = " ",
    text_separator: str = "\n",
    on_error: OnError = "error",
    dialect: Dialect = AS_FOUND,
) -> Iterator[tuple[str, list[str]]]:
    """Text and label ids of each document of a file, in any format of a table. on_error: see `settled`.

    Raises XMCError, naming file and line, for whatever cannot be read.
    """

    def example(number: int, given: Record | XMCError) -> tuple[str, list[str]]:
        where, record = f"{path}:{number}", usable(given)
        text = text_of(record, text_fields, text_separator, where, "")
        return text, labels_of(record, label_field, label_separator, where, "")

    examples = (attempt(example, *record) for record in records(Path(path), dialect))
    for given in settled(examples, str(path), on_error):
        if not isinstance(given, XMCError):
            yield given
    advise_on_labels(Path(path), label_field, label_separator, "label_separator", dialect)


def settled(documents: Iterable[T | XMCError], name: str, on_error: OnError) -> Iterator[T | XMCError]:
    """The documents as they come; one that cannot be used is raised or, under "skip", stays in its place as its error.

    The latter are logged: the first few as they come, at the end how many. Raises XMCError where all are such.
    """
    first, skipped, count = None, 0, 0
    for document in documents:
        count += 1
        if isinstance(document, XMCError):
            if on_error == "error":
                raise XMCError(f"{document}. on_error=skip leaves out such documents")
            first, skipped = first or document, skipped + 1
            if skipped <= _SHOWN:
                log.warning("skipped: %s", document)
        yield document
    if skipped:
        if skipped == count:
            raise XMCError(f"{name}: none of {count} documents can be used; the first: {first}")
        log.warning("%s: skipped %d of %d documents", name, skipped, count)


def _ids_told(
    records: Iterator[tuple[int, Record | XMCError]], field: str | None, name: str
) -> Iterator[tuple[int, Record | XMCError]]:
    """The records; of the first that has a field much like that of the ids instead, it is logged."""
    told = field is None
    for number, record in records:
        if not (told or isinstance(record, XMCError)):
            told = field in record
            if not told and (hint := near_misses(str(field), list(record))):
                log.warning("%s: no field %r%s: documents are called by their lines; set id_field", name, field, hint)
                told = True
        yield number, record


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
