"""Documents as read to a checked corpus; every reader ends here."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from xmc.data.corpus import ArrowTexts, Corpus, Split
from xmc.data.files import near_misses
from xmc.data.formats import OnError
from xmc.errors import XMCError
from xmc.strings import Strings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawSplit:
    """N documents as read.

    labels: a list each of label ids or, int32, of places in the vocabulary. where: row to `file:line`, for messages
    only. kept: which documents of the file these are, bool, one for each there; None: all. filter: CSR [N, L] of ones,
    the labels to leave out of a document's evaluation.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    labels: pa.ChunkedArray
    where: Callable[[int], str]
    kept: NDArray[np.bool_] | None = None
    filter: csr_matrix | None = None


def in_order(paths: Sequence[Path], split: str, keep: Callable[[Path, str], RawSplit]) -> RawSplit:
    """The documents of all these files, one file after another.

    `keep`, which stores those of one, is given what it may number them by: `train`, then `train-1` ...
    """
    parts = [keep(path, f"{split}-{number}" if number else split) for number, path in enumerate(paths)]
    return parts[0] if len(parts) == 1 else _joined(parts)


def label_lists(labels: Sequence[Sequence[str]]) -> pa.ChunkedArray:
    """Label ids by document as Arrow lists."""
    return pa.chunked_array([pa.array(labels, type=pa.list_(pa.string()))])


def assemble(
    name: str,
    splits: Mapping[str, RawSplit],
    label_names: Mapping[str, str] | int | None = None,
    labels_file: str = "the labels file",
    on_error: OnError = "error",
) -> Corpus:
    """The corpus of these splits.

    `label_names` (id to name) is the whole vocabulary, in its order, labels without a document included; a number
    of labels has them called by their places. Without it the vocabulary is the sorted union of the labels of all
    splits, each its own name. on_error: "skip" takes from its
    documents a label that is not in `label_names`, as Annif does, and logs how many there are.

    Raises XMCError for an id that stands twice, a label that is empty or, without "skip", not in `label_names`, and a
    train split without labels. Empty texts and places beyond the vocabulary are the readers' to judge.
    """
    _check_ids(splits)
    if label_names is None:
        ids = names = Strings(sorted(set().union(*(_distinct(split.labels) for split in splits.values()))))
    elif isinstance(label_names, int):
        ids = names = Strings.numbers(label_names)
    else:
        ids, names = Strings(label_names), Strings(label_names.values())
    checked = {
        key: Split(split.ids, split.texts, _label_matrix(split, ids.column, labels_file, on_error), split.filter)
        for key, split in splits.items()
    }
    if not checked["train"].labels.nnz:
        documents = len(checked["train"])
        raise XMCError(f"{name}: no labels at all in train ({documents} documents); is the label field the right one?")
    return Corpus(name, checked, ids, names)


def _joined(parts: Sequence[RawSplit]) -> RawSplit:
    from datasets import concatenate_datasets

    starts = list(accumulate((len(part.ids) for part in parts), initial=0))

    def where(row: int) -> str:
        part = bisect_right(starts, row) - 1
        return parts[part].where(row - starts[part])

    return RawSplit(
        [id_ for part in parts for id_ in part.ids],
        ArrowTexts(concatenate_datasets([part.texts.dataset for part in parts if isinstance(part.texts, ArrowTexts)])),
        pa.chunked_array([chunk for part in parts for chunk in part.labels.chunks], type=parts[0].labels.type),
        where,
        np.concatenate([part.kept for part in parts if part.kept is not None]),
    )


def _check_ids(splits: Mapping[str, RawSplit]) -> None:
    ids = [id_ for split in splits.values() for id_ in split.ids]
    if len(set(ids)) == len(ids):
        return
    places = [(split, row) for split in splits.values() for row in range(len(split.ids))]
    first: dict[str, tuple[RawSplit, int]] = {}
    for id_, place in zip(ids, places, strict=True):
        other = first.setdefault(id_, place)
        if other is not place:
            here, there = place[0].where(place[1]), other[0].where(other[1])
            raise XMCError(
                f"{here}: document id {id_!r} stands at {there} already; ids must be unique over all splits "
                "(where there is data.id_field, null numbers the documents)"
            )


def _distinct(labels: pa.ChunkedArray) -> set[str]:
    found: set[str] = set()
    for chunk in labels.chunks:
        found.update(pc.unique(chunk.flatten()).to_pylist())
    return found - {None, ""}


def _label_matrix(split: RawSplit, vocabulary: pa.ChunkedArray, labels_file: str, on_error: OnError) -> csr_matrix:
    """Float32 CSR [N, L] of ones, sorted, without repeats."""
    chunks = split.labels.chunks
    columns = [chunk.flatten() for chunk in chunks]
    if not pa.types.is_integer(split.labels.type.value_type):
        strings = pa.chunked_array(columns, type=pa.string())
        columns = pc.index_in(strings, value_set=vocabulary).chunks  # one hash table for all chunks
    lengths = [pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False) for chunk in chunks]
    counts = np.concatenate([np.zeros(0, np.int64), *lengths]).astype(np.int64)
    if any(column.null_count for column in columns):
        unknown = np.concatenate([column.is_null().to_numpy(False) for column in columns])
        row_of = np.repeat(np.arange(len(counts)), counts)
        if on_error == "error":
            raise _unknown_label(split, row_of[unknown][0], vocabulary, labels_file)
        _report_unknown(split, row_of[unknown], vocabulary, labels_file)
        counts = np.bincount(row_of[~unknown], minlength=len(counts))
        columns = [column.drop_null() for column in columns]
    indptr = np.concatenate([np.zeros(1, np.int64), counts.cumsum()])
    indices = np.concatenate([np.zeros(0, np.int32), *(column.to_numpy() for column in columns)])
    shape = (len(split.ids), len(vocabulary))
    matrix = csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape)
    matrix.sum_duplicates()
    matrix.data.fill(1)
    return matrix


def _unknown_label(split: RawSplit, row: int, vocabulary: pa.ChunkedArray, labels_file: str) -> XMCError:
    known = set(vocabulary.to_pylist())
    label = _first_unknown(split, row, known)
    where = f"{split.where(row)}: document {split.ids[row]!r}"
    if not label:
        return XMCError(f"{where} has an empty label among {split.labels[row].as_py()}; remove it")
    hint = near_misses(label, known) if len(known) < 100_000 else ""
    return XMCError(
        f"{where} has the label {label!r}, which is not in {labels_file}{hint}; add it there, or remove that file to "
        "take the vocabulary from the data"
    )


def _report_unknown(split: RawSplit, rows: NDArray[np.integer], vocabulary: pa.ChunkedArray, labels_file: str) -> None:
    """Log how many labels are left out. rows: their documents, ascending."""
    label = _first_unknown(split, rows[0], set(vocabulary.to_pylist()))
    log.warning(
        "%s: left out %d labels of %d documents that are not in %s; the first: %r of document %r",
        *(split.where(rows[0]), len(rows), len(np.unique(rows)), labels_file, label, split.ids[rows[0]]),
    )


def _first_unknown(split: RawSplit, row: int, known: set[str]) -> str:
    return str(next(label for label in split.labels[row].as_py() if label not in known))
