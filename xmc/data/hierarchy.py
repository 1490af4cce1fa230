"""Labels that imply others, as `a > b > c` implies `a > b` and `a`: in the vocabulary and in every document."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from xmc.data.corpus import Corpus, Split
from xmc.data.formats import BROADER
from xmc.errors import XMCError
from xmc.strings import Strings

log = logging.getLogger(__name__)

Parents = Mapping[str, Sequence[str]]
"""Of labels those directly above them, by their ids."""


def with_parents(corpus: Corpus, separator: str) -> Corpus:
    """The corpus with all that its labels imply, behind the others where the vocabulary lacks it.

    separator: divides a label's id into those above it and itself; `broader`: as the vocabulary of the data says.

    Raises XMCError where nothing is above any label.
    """
    parents = corpus.parents if separator == BROADER else _by_name(corpus.label_ids, separator)
    if not parents:
        told = "the vocabulary tells no skos:broader" if separator == BROADER else f"no label has {separator!r} in it"
        raise XMCError(f"data.parents={separator}: {told}, such as {corpus.label_ids[0]!r:.60}; leave it out")
    known = set(corpus.label_ids)
    more = sorted({above for of_one in parents.values() for above in of_one} - known)
    ids, names = Strings([*corpus.label_ids, *more]), Strings([*corpus.label_names, *more])
    implied = above(ids, parents)
    size = len(ids)
    pairs = (implied[:, 0], implied[:, 1])
    closed = csr_matrix((np.ones(len(implied), np.float32), pairs), shape=(size, size))
    closed.setdiag(1)
    splits = {name: _closed(split, closed, size) for name, split in corpus.splits.items()}
    counts = [sum(split.labels.nnz for split in of.values()) for of in (corpus.splits, splits)]
    log.info(
        "labels above others: %d, of which %d had no document; labels of documents: %d, with what they imply %d",
        *(len(np.unique(implied[:, 1])), len(more), *counts),
    )
    return replace(corpus, splits=splits, label_ids=ids, label_names=names, parents=parents)


def above(label_ids: Sequence[str], parents: Parents) -> np.ndarray:
    """All pairs of a label and one above it, however far, by their places: int64 [P, 2], sorted.

    Labels above that are not among the ids are passed through; in a circle all are above each other.
    """
    place = {label: number for number, label in enumerate(label_ids)}
    found: list[tuple[int, int]] = []
    for label, number in place.items():
        waiting, seen = list(parents.get(label, ())), {label}
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += parents.get(one, ())
        found += [(number, place[one]) for one in seen if one != label and one in place]
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _by_name(label_ids: Sequence[str], separator: str) -> Parents:
    parents: dict[str, list[str]] = {}
    for label in label_ids:
        while (parent := label.rpartition(separator)[0].rstrip()) and label not in parents:
            parents[label] = [parent]
            label = parent
    return parents


def _closed(split: Split, closed: csr_matrix, size: int) -> Split:
    def resized(matrix: csr_matrix) -> csr_matrix:
        return csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], size))

    labels = csr_matrix(resized(split.labels) @ closed)
    labels.sort_indices()
    labels.data.fill(1)
    return replace(split, labels=labels, filter=None if split.filter is None else resized(split.filter))
