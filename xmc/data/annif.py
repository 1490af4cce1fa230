"""Corpora in the short-text formats of Annif: TSV or CSV, subjects by their URIs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from xmc.data import files as inputs
from xmc.data.assemble import assemble
from xmc.data.corpus import Corpus
from xmc.data.labels import bare_uri, read_vocabulary
from xmc.data.records import Record, format_of, records, split_files, usable
from xmc.data.store import Document, OnError, stored
from xmc.types import XMCError

FORMATS = ("tsv", "csv")


def read_annif(
    root: str | Path,
    *,
    files: Mapping[str, str | Path] | None = None,
    vocabulary: str | Path | None = None,
    on_error: OnError = "error",
    cache_dir: str | Path | None = None,
) -> Corpus:
    """The corpus of `{train,dev,test}.{tsv,csv}[.gz]` in the folder `root`; dev and test may lack.

    TSV: `text<TAB><uri> <uri>` a line, no header. CSV: the columns `text` and `subject_uris` among others. files: split
    to file, below `root`, where the names are others. vocabulary: `<uri><TAB>label` a line (`vocabulary.tsv` in `root`
    where there is one); without it the vocabulary is what the data holds. Documents are named `train-0`, ... by their
    line (TSV) or row (CSV).

    on_error: "skip" leaves out a document that cannot be used, and logs how many there are. What makes the rest of a
    CSV file unreadable is an error always.

    Raises XMCError, naming file and line, for whatever cannot be read or does not fit together.
    """
    folder = inputs.folder(root)
    cache = None if cache_dir is None else Path(cache_dir)
    splits = {}
    for split, path in split_files(folder, files or {}, FORMATS).items():
        format_ = format_of(path)
        if format_ not in FORMATS:
            raise XMCError(f"{path}: format not known; expected a name in .{' or .'.join(FORMATS)}, plain or .gz")
        read = _csv_documents if format_ == "csv" else _tsv_documents
        splits[split] = stored(read, (path,), cache, on_error=on_error, split=split)
    vocabulary_file = folder / (vocabulary or "vocabulary.tsv")
    names = read_vocabulary(vocabulary_file) if vocabulary or vocabulary_file.is_file() else None
    return assemble(folder.resolve().name, splits, names, str(vocabulary_file))


def _tsv_documents(files: tuple[Path], split: str) -> Iterator[Document | XMCError]:
    (path,) = files

    def document(number: int, raw: bytes) -> Document:
        line = inputs.text_line(raw, f"{path}:{number}")
        text, tab, uris = line.partition("\t")
        if not tab:
            raise XMCError(f"{path}:{number}: expected `text<TAB><uri> <uri>`, found {line!r:.40}")
        return _document(path, number, f"{split}-{number - 1}", text, uris)

    with inputs.open_bytes(path) as stream:
        for number, raw in inputs.numbered_lines(stream, str(path)):
            if raw.strip():
                yield inputs.attempt(document, number, raw)


def _csv_documents(files: tuple[Path], split: str) -> Iterator[Document | XMCError]:
    (path,) = files

    def document(row: int, line: int, given: Record | XMCError) -> Document:
        record = usable(given)
        return _document(path, line, f"{split}-{row}", record["text"], record["subject_uris"])

    for row, (line, record) in enumerate(records(path)):
        if not isinstance(record, XMCError) and not {"text", "subject_uris"} <= record.keys():
            raise XMCError(f"{path}: columns {inputs.listing(record)}; expected text and subject_uris in the header")
        yield inputs.attempt(document, row, line, record)


def _document(path: Path, line: int, id_: str, text: str, uris: str) -> Document:
    if not text.strip():
        raise XMCError(f"{path}:{line}: empty text; give the document a text or remove it")
    return line, id_, text.strip(), [bare_uri(uri) for uri in uris.split()]
