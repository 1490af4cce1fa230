"""The best rows for each document, found through the terms that both have."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from xmc.ops.compiled import in_parallel, ranges_of
from xmc.ops.lexical import ranking_kernels as kernels

Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]


class Postings(Protocol):
    """Rows of weights by node and term: of node p the rows [first[p], first[p + 1]), and for each of the terms
    [nodes[p], nodes[p + 1]), ascending in each node, the entries [offsets[t], offsets[t + 1]): a row, counted from the
    node's first, and a weight in int8, to be multiplied by the row's `scale`."""

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """first, nodes, terms, offsets, rows, weights, scale."""
        ...

    @property
    def directory(self) -> "Directory":
        """Where to look for a term."""
        ...


class Directory(NamedTuple):
    """The terms of a node in bins of 2^shift numbers: of node p the bins [bins[p], bins[p + 1] - 1), and the terms of
    bin b are those from starts[b] to starts[b + 1], counted from the node's first. Two terms a bin on average, so that
    they are found in a step or two."""

    bins: NDArray[np.int64]
    shifts: NDArray[np.int64]
    starts: NDArray[np.int32]

    @classmethod
    def of(cls, nodes: NDArray[np.int64], terms: NDArray[np.int32]) -> "Directory":
        """See `Postings`."""
        bins, shifts = np.zeros(len(nodes), np.int64), np.zeros(len(nodes) - 1, np.int64)
        size = kernels.fill_directory(nodes, terms, bins, shifts, np.empty(0, np.int32))
        starts = np.empty(size, np.int32)
        kernels.fill_directory(nodes, terms, bins, shifts, starts)
        return cls(bins, shifts, starts)


def best_children(documents: csr_matrix, postings: Postings, bias: NDArray[np.float32], beam: Ranked, k: int) -> Ranked:
    """The k best rows among those of the nodes in each document's beam, best first: rows int64 [B, k] and scores.

    beam: nodes and their scores in the same form, best first, -1 and -inf behind them.
    A row's score is that of its node plus -max(0, 1 - s)^3, where s is what the row makes of the document: the log of a
    probability (PECOS, Yu et al. 2022, section 3.2.2: the `l3-hinge`). -1 where there are fewer rows.
    """
    arrays = *postings.arrays, *postings.directory
    nodes, scores = beam
    entries = _entries(documents)
    widest = int(np.diff(arrays[0]).max(initial=1))
    found, best = _empty(documents.shape[0], k)

    def run(start: int, stop: int) -> None:
        sums = np.empty(widest, np.float32)
        kernels.rank_children(*(*entries, nodes, scores, *arrays, bias, found, best, sums, start, stop))

    in_parallel(kernels.rank_children, run, _ranges(documents))
    return found, best


def best_rows(documents: csr_matrix, postings: Postings, k: int, budget: int) -> Ranked:
    """The k best rows of all for each document, by their product: rows int64 [B, k], -1 where fewer share a term, and
    products.

    budget: entries that a document may read; beyond, its terms with the most entries are passed over, which tell least.
    """
    found, best = _empty(documents.shape[0], k)
    entries, arrays = _entries(documents), (*postings.arrays, *postings.directory)
    rows = int(arrays[0][-1])

    def run(start: int, stop: int) -> None:
        scratch = np.zeros(rows, np.float32), np.zeros(rows, np.bool_), np.empty(rows, np.int64)
        kernels.rank_rows(*(*entries, *arrays, found, best, *scratch, budget, start, stop))

    in_parallel(kernels.rank_rows, run, _ranges(documents))
    return found, best


def _entries(documents: csr_matrix) -> tuple[NDArray[Any], ...]:
    return documents.indptr.astype(np.int64), documents.indices.astype(np.int32), documents.data


def _empty(documents: int, k: int) -> Ranked:
    return np.full((documents, k), -1, np.int64), np.full((documents, k), -np.inf, np.float32)


def _ranges(documents: csr_matrix) -> list[tuple[int, int]]:
    return ranges_of(documents.shape[0], 8, 16)
