"""Corpora in JSON, CSV, TSV, Excel or Parquet: a record a document, a file or several a split."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from xmc.data.benchmark import BenchmarkData, Layout
from xmc.data.delimited import Dialect
from xmc.data.documents import Record, advise_on_labels, id_of, labels_of, records, text_of, usable
from xmc.data.files import FORMATS
from xmc.data.formats import SAME_DOCUMENTS, DataSection, Document, Fields, Files, FilesBySplit, OnError
from xmc.data.labels import read_labels_tsv
from xmc.data.lines import attempt
from xmc.data.splits import split_files
from xmc.errors import XMCError
from xmc.section import Before
from xmc.values import Character, Encoding, Text, Texts

if TYPE_CHECKING:
    from xmc.data.assemble import RawSplit
    from xmc.data.corpus import Corpus


class RecordData(DataSection):
    """A record a document, with its text, its id and its labels in fields of its own."""

    on_error: Annotated[OnError, Before("error"), SAME_DOCUMENTS] = "error"
    """skip: leave out documents that cannot be used and labels that labels.tsv lacks, and say how many"""
    text_fields: Annotated[Texts, Field(min_length=1), SAME_DOCUMENTS] = ("text",)
    """joined by text_separator"""
    text_separator: Annotated[str, SAME_DOCUMENTS] = "\n"
    id_field: str | None = "id"
    """null: the row number"""
    label_field: Annotated[str, SAME_DOCUMENTS] = "labels"
    """a list, or a text: a list as JSON or Python write it, else split at label_separator"""
    label_separator: Annotated[Text, SAME_DOCUMENTS] = ";"

    @property
    def fields(self) -> Fields:
        of_id = self.id_field or Fields.id
        return Fields(self.text_fields, self.text_separator, of_id, self.label_field, self.label_separator)

    @property
    def how(self) -> Mapping[str, Any]:
        """What `document_of` needs to know."""
        return {"fields": self.fields, "has_id": self.id_field is not None}


def document_of(given: Record | XMCError, place: tuple[str, int], id_: str, fields: Fields, has_id: bool) -> Document:
    """The document of a record. place: its file and line. id_: what it is called where it has no id of its own.

    Raises XMCError where it cannot be used.
    """
    where, record = f"{place[0]}:{place[1]}", usable(given)
    id_ = id_of(record, fields.id, where) if has_id else id_
    text = text_of(record, fields.text, fields.text_separator, where)
    return place[1], id_, text, labels_of(record, fields.label, fields.label_separator, where)


class TableData(RecordData, BenchmarkData):
    """A record a document, under root, plain or compressed; labels.tsv (id, name) beside them if there is one."""

    layout: ClassVar = Layout(
        [[f"{split}.jsonl", f"{split}.jsonl.gz"] for split in ("train", "dev", "test")], ["labels.tsv"]
    )

    files: FilesBySplit = Files()
    encoding: Annotated[Encoding | None, Before(None), SAME_DOCUMENTS] = None
    """of CSV and TSV that are not in UTF-8 or UTF-16; null: guessed"""
    delimiter: Annotated[Character | None, Before(None), SAME_DOCUMENTS] = None
    """of CSV and TSV; null: that of the header"""
    quote: Annotated[Character | Literal["none"] | None, Before(None), SAME_DOCUMENTS] = None
    """around fields of CSV and TSV | none: quotes are text; null: that of the header"""

    @property
    def fields(self) -> Fields:
        return replace(super().fields, dialect=Dialect(self.encoding, self.delimiter, self.quote))

    def read(self) -> "Corpus":
        """The corpus of `{train,dev,test}.{jsonl,json,csv,tsv,xlsx,parquet}[.gz]` in the folder; dev and test may lack.

        `files` names others; see `split_files`. Without `labels.tsv`, id and name of every label, the vocabulary is
        what the data holds. Labels are a list, or a text that `label_separator` divides; where another would fit far
        better, this is logged. `id_field` None numbers the documents of each split, or of each of its files. What makes
        the rest of a file unreadable is an error always.
        """
        from xmc.data.assemble import assemble, in_order
        from xmc.data.store import stored

        def keep(path: Path, name: str) -> "RawSplit":
            return stored(_documents, (path,), self.cache, on_error=self.on_error, split=name, **self.how)

        folder = self.folder
        found = split_files(folder, self.files.given(), FORMATS)
        splits = {split: in_order(paths, split, keep) for split, paths in found.items()}
        of_separator = (self.label_separator, "data.label_separator", self.fields.dialect)
        advise_on_labels(found["train"][0], self.label_field, *of_separator)
        vocabulary = folder / "labels.tsv"
        names = read_labels_tsv(vocabulary) if vocabulary.is_file() else None
        return assemble(folder.resolve().name, splits, names, str(vocabulary), self.on_error)


class JsonlData(TableData):
    """{train,dev,test}.jsonl under root, plain or compressed; labels.tsv (id, name) beside them if there is one."""

    kind: Literal["jsonl"] = "jsonl"
    label_separator: Annotated[Text, SAME_DOCUMENTS] = " "


class CsvData(TableData):
    """{train,dev,test}.csv under root, plain or compressed; labels.tsv (id, name) beside them if there is one."""

    kind: Literal["csv"] = "csv"


class TsvData(TableData):
    """{train,dev,test}.tsv under root, plain or compressed; labels.tsv (id, name) beside them if there is one."""

    kind: Literal["tsv"] = "tsv"


class XlsxData(TableData):
    """{train,dev,test}.xlsx under root, the first sheet; labels.tsv (id, name) beside them if there is one."""

    kind: Literal["xlsx"] = "xlsx"


class ParquetData(TableData):
    """{train,dev,test}.parquet under root, plain or compressed; labels.tsv (id, name) beside them if there is one."""

    kind: Literal["parquet"] = "parquet"


def _documents(files: tuple[Path], split: str, fields: Fields, has_id: bool) -> Iterator[Document | XMCError]:
    (path,) = files
    for row, (line, record) in enumerate(records(path, fields.dialect)):
        yield attempt(document_of, record, (str(path), line), f"{split}-{row}", fields, has_id)
