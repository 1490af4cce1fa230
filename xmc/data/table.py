"""Corpora in JSON lines, CSV, TSV or Parquet: a record a document, a file or several a split."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xmc.data import files as inputs
from xmc.data.assemble import assemble
from xmc.data.corpus import Corpus
from xmc.data.fields import advise_on_labels, id_of, labels_of, text_of
from xmc.data.labels import read_labels_tsv
from xmc.data.records import FORMATS, Record, records, usable
from xmc.data.shards import stored_in_order
from xmc.data.splits import split_files
from xmc.data.store import Document, OnError
from xmc.errors import XMCError


def read_table(
    root: str | Path,
    text_fields: Sequence[str] = ("text",),
    label_field: str = "labels",
    id_field: str | None = "id",
    *,
    files: Mapping[str, str | Path] | None = None,
    labels_file: str | Path | None = None,
    label_separator: str = " ",
    text_separator: str = "\n",
    on_error: OnError = "error",
    cache_dir: str | Path | None = None,
) -> Corpus:
    """The corpus of `{train,dev,test}.{jsonl,csv,tsv,parquet}[.gz]` in the folder `root`; dev and test may lack.

    files: split to file or pattern, below `root`, where the names are others; see `split_files`. labels_file: id and
    name of every label (`labels.tsv` in `root` where there is one); without it the vocabulary is what the data holds.
    Labels are a list, or a text that `label_separator` divides; where another would fit far better, this is logged.
    `id_field` None numbers the documents of each split, or of each of its files.

    on_error: "skip" leaves out a document that cannot be used, and a label that `labels_file` lacks, and logs how many
    there are. What makes the rest of a file unreadable is an error always.

    Raises XMCError, naming file and line, for whatever cannot be read or does not fit together.
    """
    if not text_fields:
        raise XMCError("data.text_fields is empty; name at least one field that holds text")
    folder = inputs.folder(root)
    cache = None if cache_dir is None else Path(cache_dir)
    found = split_files(folder, files or {}, FORMATS)
    splits = {
        split: stored_in_order(
            _documents,
            paths,
            split,
            cache,
            on_error=on_error,
            text_fields=tuple(text_fields),
            label_field=label_field,
            id_field=id_field,
            label_separator=label_separator,
            text_separator=text_separator,
        )
        for split, paths in found.items()
    }
    advise_on_labels(found["train"][0], label_field, label_separator, "data.label_separator")
    vocabulary_file = folder / (labels_file or "labels.tsv")
    names = read_labels_tsv(vocabulary_file) if labels_file or vocabulary_file.is_file() else None
    return assemble(folder.resolve().name, splits, names, str(vocabulary_file), on_error)


def _documents(
    files: tuple[Path],
    split: str,
    text_fields: tuple[str, ...],
    label_field: str,
    id_field: str | None,
    label_separator: str,
    text_separator: str,
) -> Iterator[Document | XMCError]:
    (path,) = files

    def document(row: int, line: int, given: Record | XMCError) -> Document:
        where, record = f"{path}:{line}", usable(given)
        id_ = f"{split}-{row}" if id_field is None else id_of(record, id_field, where)
        text = text_of(record, text_fields, text_separator, where)
        return line, id_, text, labels_of(record, label_field, label_separator, where)

    for row, (line, record) in enumerate(records(path)):
        yield inputs.attempt(document, row, line, record)
