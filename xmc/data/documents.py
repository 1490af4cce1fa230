"""Documents to predict labels for, and examples of labels, read one at a time."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from xmc.data.delimited import AS_FOUND, Dialect
from xmc.data.encodings import decoded
from xmc.data.files import near_misses, open_bytes
from xmc.data.formats import OnError
from xmc.data.lines import attempt, json_lines, numbered_lines
from xmc.data.records import Record, advise_on_labels, format_of, id_of, labels_of, records, text_of, usable
from xmc.data.sources import TEXT, Source, Sources
from xmc.errors import XMCError

log = logging.getLogger(__name__)

T = TypeVar("T")
_SHOWN = 10
_STREAM = "<stdin>"


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
