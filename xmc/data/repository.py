"""Corpora in the raw text of the Extreme Classification Repository: a JSON object a document, labels by their place."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from xmc.data import files as inputs
from xmc.data.benchmark import BenchmarkData, Layout
from xmc.data.documents import Record, id_of, joined
from xmc.data.formats import SAME_DOCUMENTS, Document, Fields
from xmc.data.labels import MOST_LABELS, check_places, read_labels_json
from xmc.data.lines import attempt, json_object, numbered_lines, text_line
from xmc.errors import XMCError
from xmc.values import Texts

if TYPE_CHECKING:
    from xmc.data.assemble import RawSplit
    from xmc.data.corpus import Corpus

_SPLITS = {"train": "trn", "test": "tst"}


class RepositoryData(BenchmarkData):
    """Raw text of the Extreme Classification Repository: {trn,tst,lbl}.json[.gz] under root.

    Filter files beside them ({trn,tst}_filter_labels.txt) are honoured: evaluation leaves their pairs out of truth and
    predictions.
    """

    layout: ClassVar = Layout(
        [[f"{part}.json", f"{part}.json.gz"] for part in ("trn", "tst", "lbl")],
        ["trn_filter_labels.txt", "tst_filter_labels.txt", "filter_labels_train.txt", "filter_labels_test.txt"],
    )

    kind: Literal["repository"] = "repository"
    text_fields: Annotated[Texts, Field(min_length=1), SAME_DOCUMENTS] = ("title", "content")
    """joined by text_separator; titles alone: [title]"""
    text_separator: Annotated[str, SAME_DOCUMENTS] = "\n"
    id_field: str | None = "uid"
    """null: the row number"""

    @property
    def fields(self) -> Fields:
        return Fields(self.text_fields, self.text_separator, self.id_field or Fields.id)

    def read(self) -> "Corpus":
        """The corpus of `trn.json`, `tst.json` and `lbl.json` in the folder, plain or .gz; tst may lack.

        Line i of trn and tst is document i; `target_ind` are its labels, by their line in lbl, from 0 and in any order,
        and all of them count the same (`target_rel` is not looked at). Label ids are the `uid` of lbl, names its
        `title`; without lbl the labels are the indices that occur. `id_field` None numbers the documents of each split.

        The pairs of `{trn,tst}_filter_labels.txt` (or `filter_labels_{train,test}.txt`) become `Split.filter`. Where
        documents are skipped, the others keep their labels and filter pairs.
        """
        from xmc.data.assemble import assemble
        from xmc.data.filters import filtered
        from xmc.data.store import stored

        folder = self.folder
        labels_file = inputs.first_file(folder, "lbl.json", "lbl.json.gz")
        names = None if labels_file is None else read_labels_json(labels_file)
        splits = {}
        for split, short in _SPLITS.items():
            path = inputs.first_file(folder, f"{short}.json", f"{short}.json.gz")
            if path is None and split != "train":
                continue
            splits[split] = stored(
                *(_documents, (path or inputs.file(folder / f"{short}.json"),), self.cache),
                label_type="int32",
                on_error=self.on_error,
                split=split,
                text_fields=self.text_fields,
                text_separator=self.text_separator,
                id_field=self.id_field,
                label_count=MOST_LABELS if names is None else len(names),
            )
        count = 1 + max(map(_largest, splits.values())) if names is None else len(names)
        splits = {split: filtered(raw, folder, split, count) for split, raw in splits.items()}
        return assemble(folder.resolve().name, splits, count if names is None else names)


def _largest(split: "RawSplit") -> int:
    """The largest label of a split, -1 where it has none."""
    import pyarrow.compute as pc

    return max((pc.max(chunk.flatten()).as_py() for chunk in split.labels.chunks if len(chunk.flatten())), default=-1)


def _documents(
    files: tuple[Path],
    split: str,
    text_fields: tuple[str, ...],
    text_separator: str,
    id_field: str | None,
    label_count: int,
) -> Iterator[Document | XMCError]:
    (path,) = files

    def document(number: int, raw: bytes) -> Document:
        where = f"{path}:{number}"
        record = json_object(text_line(raw, where), where)
        id_ = f"{split}-{number - 1}" if id_field is None else id_of(record, id_field, where)
        return number, id_, joined(record, text_fields, text_separator, where), _labels(record, label_count, where)

    with inputs.open_bytes(path) as stream:
        for number, raw in numbered_lines(stream, str(path)):
            yield attempt(document, number, raw)


def _labels(record: Record, label_count: int, where: str) -> list[int]:
    indices = record.get("target_ind")
    if not isinstance(indices, list) or any(type(index) is not int for index in indices):
        raise XMCError(f"{where}: field 'target_ind' is {indices!r:.40}; expected a list of label indices, [] for none")
    check_places(indices, label_count, where, "target_ind")
    return indices
