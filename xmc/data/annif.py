"""Corpora in the short-text formats of Annif: TSV or CSV, subjects by their URIs."""

import logging
import re
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from xmc.data import files as inputs
from xmc.data.formats import SAME_DOCUMENTS, Document, Files, FilesBySplit, FolderData
from xmc.data.labels import bare_uri, read_vocabulary
from xmc.data.records import Record, format_of, records, usable
from xmc.data.splits import split_files
from xmc.errors import XMCError

if TYPE_CHECKING:
    from xmc.data.corpus import Corpus

log = logging.getLogger(__name__)

FORMATS = ("tsv", "csv")

_URI = re.compile(r"<\S*>|[A-Za-z][A-Za-z0-9+.-]*:\S+")
_SAMPLE = 1000
_OTHER_VOCABULARIES = ("ttl", "rdf", "nt", "n3", "jsonld", "skos")
_WRITE_IT = "write its names as `<uri><TAB>label` lines in"


class AnnifData(FolderData):
    """Annif's short-text corpora: {train,dev,test}.tsv, `text<TAB><uri> <uri>` a line, or .csv, plain or compressed.

    A .csv has the columns text and subject_uris.
    """

    kind: Literal["annif"] = "annif"
    files: FilesBySplit = Files()
    vocabulary: Annotated[str | None, SAME_DOCUMENTS] = None
    """`<uri><TAB>label` a line; null: vocabulary.tsv under root if there is one, else the data's own"""

    def read(self) -> "Corpus":
        """The corpus of `{train,dev,test}.{tsv,csv}[.gz]` in the folder; dev and test may lack.

        TSV: `text<TAB><uri> <uri>` a line, no header. CSV: the columns `text` and `subject_uris` among others. Without
        a vocabulary it is what the data holds, and a file of the folder that looks like one is told. Documents are
        named `train-0`, ... by their line (TSV) or row (CSV). What makes the rest of a CSV file unreadable is an error
        always.

        Raises XMCError, naming file and line, for whatever cannot be read or does not fit together.
        """
        from xmc.data.assemble import assemble
        from xmc.data.shards import stored_in_order

        folder = self.folder
        found = split_files(folder, self.files.given(), FORMATS)
        splits = {
            split: stored_in_order(_documents, paths, split, self.cache, on_error=self.on_error)
            for split, paths in found.items()
        }
        vocabulary = folder / (self.vocabulary or "vocabulary.tsv")
        if vocabulary.is_file() and format_of(vocabulary, ("csv", *_OTHER_VOCABULARIES)):
            raise XMCError(f"{vocabulary} is not read as a vocabulary; {_WRITE_IT} {folder / 'vocabulary.tsv'}")
        names = read_vocabulary(vocabulary) if self.vocabulary or vocabulary.is_file() else None
        if names is None:
            _advise_on_vocabulary(folder, {path for paths in found.values() for path in paths})
        return assemble(folder.resolve().name, splits, names, str(vocabulary), self.on_error)


def _documents(files: tuple[Path], split: str) -> Iterator[Document | XMCError]:
    (path,) = files
    format_ = format_of(path)
    if format_ not in FORMATS:
        raise XMCError(f"{path}: format not known; expected a name in .{' or .'.join(FORMATS)}, plain or .gz")
    read = _csv_records if format_ == "csv" else _tsv_records
    checked = _mostly_uris(record for _, _, record in islice(read(path), _SAMPLE))

    def document(row: int, line: int, given: Record | XMCError) -> Document:
        where, record = f"{path}:{line}", usable(given)
        text, subjects = record["text"].strip(), record["subject_uris"].split()
        if not text:
            raise XMCError(f"{where}: empty text; give the document a text or remove it")
        if checked and (word := next((subject for subject in subjects if not _URI.fullmatch(subject)), None)):
            raise XMCError(
                f"{where}: the subject {word!r:.60} is no URI, and others of the file are; is there a tab too many?"
            )
        return line, f"{split}-{row}", text, list(map(bare_uri, subjects))

    for row, line, given in read(path):
        yield inputs.attempt(document, row, line, given)


def _tsv_records(path: Path) -> Iterator[tuple[int, int, Record | XMCError]]:
    """Place, line and columns, called as in CSV, of each line that is not blank."""

    def record(number: int, raw: bytes) -> Record:
        line = inputs.text_line(raw, f"{path}:{number}")
        text, tab, subjects = line.partition("\t")
        if not tab:
            raise XMCError(f"{path}:{number}: expected `text<TAB><uri> <uri>`, found {line!r:.40}")
        return {"text": text, "subject_uris": subjects}

    with inputs.open_bytes(path) as stream:
        for number, raw in inputs.numbered_lines(stream, str(path)):
            if raw.strip():
                yield number - 1, number, inputs.attempt(record, number, raw)


def _csv_records(path: Path) -> Iterator[tuple[int, int, Record | XMCError]]:
    for row, (line, record) in enumerate(records(path)):
        if not isinstance(record, XMCError) and not {"text", "subject_uris"} <= record.keys():
            raise XMCError(f"{path}: columns {inputs.listing(record)}; expected text and subject_uris in the header")
        yield row, line, record


def _mostly_uris(sample: Iterator[Record | XMCError]) -> bool:
    """Whether the subjects of the file are URIs, judged by its first documents."""
    subjects = [
        subject for record in sample if not isinstance(record, XMCError) for subject in record["subject_uris"].split()
    ]
    return 2 * sum(bool(_URI.fullmatch(subject)) for subject in subjects) > len(subjects)


def _advise_on_vocabulary(folder: Path, documents: Collection[Path]) -> None:
    """Log which file beside the documents may be the vocabulary."""
    beside = sorted(path for path in folder.iterdir() if path.is_file() and path not in documents)
    if found := [path.name for path in beside if _is_vocabulary(path)]:
        log.warning(
            "%s: subjects are called by their URIs, since there is no vocabulary.tsv; if %s has their names, set "
            "data.vocabulary=%s",
            *(folder, " or ".join(found), found[0]),
        )
    elif found := [path.name for path in beside if format_of(path, _OTHER_VOCABULARIES) or _is_csv_vocabulary(path)]:
        log.warning(
            "%s: subjects are called by their URIs; %s is not read: %s %s",
            *(folder, found[0], _WRITE_IT, folder / "vocabulary.tsv"),
        )


def _is_vocabulary(path: Path) -> bool:
    """Whether the first line has a URI and a name behind it; in a corpus the URIs are last."""
    uri, tab, _ = _first_line(path, "tsv", "txt").partition("\t")
    return bool(tab and _URI.fullmatch(uri))


def _is_csv_vocabulary(path: Path) -> bool:
    """Whether the header is that of a vocabulary of Annif, such as `uri,label_en`."""
    return "uri" in re.split(r"\W+", _first_line(path, "csv"))


def _first_line(path: Path, *formats: str) -> str:
    """Of a file of these formats; empty where there is none."""
    if format_of(path, formats) is None:
        return ""
    try:
        return next(inputs.text_lines(path), (1, ""))[1]
    except XMCError:
        return ""
