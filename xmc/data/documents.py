"""Documents to predict labels for, read one at a time."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from xmc.data.fields import id_of, labels_of, text_of
from xmc.data.files import json_lines
from xmc.data.records import Record, records, usable
from xmc.types import XMCError


def read_documents(
    source: str | Path | Iterable[bytes],
    text_fields: Sequence[str],
    id_field: str | None = "id",
    text_separator: str = "\n",
) -> Iterator[tuple[str, str]]:
    """Id and text of each document of a file, or of a stream of JSON lines such as `sys.stdin.buffer`.

    A document without the id field is named by its line (in Parquet its row). Nothing but the current document is held.

    Raises XMCError, naming file and line, for malformed JSON, a missing text field, an empty text and a damaged file.
    """
    named: Iterator[tuple[int, Record | XMCError]]
    if isinstance(source, str | Path):
        name, named = str(source), records(Path(source))
    else:
        name = "<stdin>"
        named = json_lines(source, name)
    for number, given in named:
        where, record = f"{name}:{number}", usable(given)
        id_ = id_of(record, id_field, where) if id_field is not None and id_field in record else str(number)
        yield id_, text_of(record, text_fields, text_separator, where)


def read_examples(
    path: str | Path,
    text_fields: Sequence[str],
    label_field: str = "labels",
    *,
    label_separator: str = " ",
    text_separator: str = "\n",
) -> Iterator[tuple[str, list[str]]]:
    """Text and label ids of each document of a file, in any format of a table.

    Raises XMCError, naming file and line, for whatever cannot be read.
    """
    for number, given in records(Path(path)):
        where, record = f"{path}:{number}", usable(given)
        text = text_of(record, text_fields, text_separator, where)
        yield text, labels_of(record, label_field, label_separator, where)
