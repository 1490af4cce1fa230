"""Sparse rows of weights, filed by node and term, and the best of them for each document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from xmc.ops.compiled import in_parallel, ranges_of
from xmc.ops.lexical import ranking_kernels as kernels
from xmc.ops.lexical.dual import Rows

Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]
_LEVELS = 127  # of an int8 weight, above and below 0
_SMALL = np.iinfo(np.int16).max


@dataclass(frozen=True)
class Postings:
    """Rows of weights by node and term: of node p the rows [first[p], first[p + 1]), and for each of the terms
    [nodes[p], nodes[p + 1]), ascending in each node, the entries [offsets[t], offsets[t + 1]): a row, counted from the
    node's first, and a weight, to be multiplied by the row's `scale`. rows are int16 where no node has more than that
    can number."""

    first: NDArray[np.int64]
    nodes: NDArray[np.int64]
    terms: NDArray[np.int32]
    offsets: NDArray[np.int64]
    rows: NDArray[np.integer]
    weights: NDArray[np.int8]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, nodes: Sequence[Rows]) -> Self:
        """From the rows of each node: terms and weights, one row after another, and how many each has."""
        sizes = [len(counts) for _, _, counts, _ in nodes]
        row_type = np.int16 if max(sizes, default=0) <= _SMALL else np.int32
        nothing = np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32)
        files = [_filed(*rows, row_type) for rows in nodes or [nothing]]
        terms, times, rows, weights, scale = (np.concatenate(parts) for parts in zip(*files, strict=True))
        starts = np.cumsum([0, *(len(of_node) for of_node, *_ in files)])
        offsets = np.concatenate([[0], np.cumsum(times)])
        return cls(np.cumsum([0, *sizes]), starts, terms, offsets.astype(np.int64), rows, weights, scale)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What `tensors` gave."""
        return cls(*(tensors[field.name].numpy() for field in fields(cls)))

    def tensors(self) -> dict[str, Tensor]:
        """By name, as they are saved."""
        names = [field.name for field in fields(self)]
        return {name: torch.from_numpy(array) for name, array in zip(names, self.arrays, strict=True)}

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """In the order of the fields."""
        return self.first, self.nodes, self.terms, self.offsets, self.rows, self.weights, self.scale

    @cached_property
    def directory(self) -> tuple[NDArray[Any], ...]:
        """Where to look for a term, see `fill_directory`: made when the first document comes, of what `fault` has found
        to be whole."""
        bins, shifts = np.zeros(len(self.nodes), np.int64), np.zeros(len(self.nodes) - 1, np.int64)
        size = kernels.fill_directory(self.nodes, self.terms, bins, shifts, np.empty(0, np.int32))
        starts = np.empty(size, np.int32)
        kernels.fill_directory(self.nodes, self.terms, bins, shifts, starts)
        return bins, shifts, starts

    @property
    def num_rows(self) -> int:
        return len(self.scale)

    def at(self, rows: NDArray[np.int64], terms: NDArray[np.integer]) -> NDArray[np.float32]:
        """The weights of these rows at these terms, [R, U]; 0 where a row has none."""
        nodes = self.node_of(rows)
        low, end = self.entries(nodes, terms)
        high, wanted, last = end, (rows - self.first[nodes])[:, None], max(0, len(self.rows) - 1)
        while (searching := low < high).any():
            middle = (low + high) >> 1
            before = self.rows[np.minimum(middle, last)] < wanted
            low, high = np.where(searching & before, middle + 1, low), np.where(searching & ~before, middle, high)
        place = np.minimum(low, last)
        found = (low < end) & (self.rows[place] == wanted)
        return np.where(found, self.weights[place] * self.scale[rows, None], np.float32(0))

    def node_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The node that each row is in."""
        return np.searchsorted(self.first, rows, "right") - 1

    def entries(self, nodes: NDArray[np.int64], terms: NDArray[np.integer]) -> tuple[NDArray[np.int64], ...]:
        """Where the entries of these terms begin and end in each of the nodes, [n, U]; alike where there are none."""
        bounds = zip(self.nodes[nodes], self.nodes[nodes + 1], strict=True)
        places = [low + np.searchsorted(self.terms[low:high], terms) for low, high in bounds]
        place = np.minimum(places, max(0, len(self.terms) - 1))
        known = (places < self.nodes[nodes + 1, None]) & (self.terms[place] == terms)
        return np.where(known, self.offsets[place], 0), np.where(known, self.offsets[place + 1], 0)

    def fault(self, num_nodes: int, num_rows: int, num_terms: int) -> str | None:
        """What of it does not belong together, as the loops of the op rely on; None: nothing."""
        types = (np.int64, np.int64, np.int32, np.int64, self.rows.dtype, np.int8, np.float32)
        if self.rows.dtype not in (np.int16, np.int32) or any(
            array.ndim != 1 or array.dtype != kind for array, kind in zip(self.arrays, types, strict=True)
        ):
            return "has a tensor of another type or shape"
        if self.num_rows != num_rows or len(self.rows) != len(self.weights):
            return f"has {self.num_rows} rows, expected {num_rows}"
        cuts = ((self.first, num_nodes, num_rows), (self.nodes, num_nodes, len(self.terms)))
        if not all(map(_cut, *zip(*cuts, (self.offsets, len(self.terms), len(self.rows)), strict=True))):
            return "has offsets that do not cut its entries"
        if len(self.terms) and not 0 <= self.terms.min() <= self.terms.max() < num_terms:
            return f"has a term that is none of the {num_terms}"
        inside = np.ones(max(0, len(self.terms) - 1), np.bool_)
        inside[self.nodes[(self.nodes > 0) & (self.nodes < len(self.terms))] - 1] = False
        if not (np.diff(self.terms)[inside] > 0).all():
            return "has terms that do not ascend"
        sizes = np.repeat(np.diff(self.first), np.diff(self.offsets[self.nodes]))
        if not ((self.rows >= 0) & (self.rows < sizes)).all():
            return "has an entry outside its node"
        return None if np.isfinite(self.scale).all() else "has a number that is not finite"


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


def _filed(
    terms: NDArray[np.int32],
    weights: NDArray[np.float32],
    counts: NDArray[np.int64],
    biases: NDArray[np.float32],
    row_type: type[np.integer],
) -> tuple[NDArray[Any], ...]:
    """The terms of a node, how many entries each has, their rows and weights, and the scale of each row."""
    row = np.repeat(np.arange(len(counts)), counts)
    largest = np.full(len(counts), 1e-12, np.float32)
    np.maximum.at(largest, row, np.abs(weights))
    scale = largest / _LEVELS
    rounded = np.rint(weights / scale[row]).astype(np.int8)
    kept = rounded != 0
    row, terms, rounded = row[kept], terms[kept], rounded[kept]
    order = np.lexsort((row, terms))
    found, times = np.unique(terms, return_counts=True)
    return found.astype(np.int32), times, row[order].astype(row_type), rounded[order], scale.astype(np.float32)


def _cut(starts: NDArray[np.int64], parts: int, count: int) -> bool:
    """Whether these are where each of so many parts of so many things begins, and the end."""
    ascending = len(starts) == parts + 1 and bool((np.diff(starts) >= 0).all())
    return ascending and bool(starts[0] == 0 and starts[-1] == count)
