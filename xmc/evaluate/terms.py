"""What each document adds to a metric: a walk over predictions and truth, a chunk of documents at a time.

A metric that is a mean over documents, or a ratio of means, is the sum of what the documents gain over the sum of what
they count. Such terms are functions of a `Block`; the metrics sum them once, the bootstrap many times.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

CSR = sp.csr_array | sp.csr_matrix
Labels = NDArray[np.integer]
Values = NDArray[np.float64]

BINS: Final = ("head", "torso", "tail")
CHUNK: Final = 16_384


@dataclass(frozen=True, slots=True)
class Block:
    """A chunk of n documents: lists and which of their entries are true [n, k], P true labels and the row of each."""

    ranked: Labels
    hits: NDArray[np.bool_]
    documents: NDArray[np.int64]
    positives: Labels
    counts: NDArray[np.int64]

    def gains(self, weight: Values) -> Values:
        """Weight of the correct labels of each list, [n, k]."""
        return np.where(self.hits, weight[self.ranked], 0.0)

    def best_gains(self, weight: Values) -> Values:
        """The k largest weights among each document's true labels, falling, [n, k]."""
        order = np.lexsort((-weight[self.positives], self.documents))
        first = self.counts.cumsum() - self.counts
        rank = np.arange(len(order)) - first[self.documents]
        best = np.zeros((len(self.counts), k := self.hits.shape[-1]))
        top = rank < k
        best[self.documents[top], rank[top]] = weight[self.positives[order]][top]
        return best


Terms = tuple[Values, Values]
"""Gained and counted, [n, k] at the cut-offs 1..k."""

TermsOf = Callable[[Block], Terms]


def precision(block: Block, among: NDArray[np.bool_] | None = None) -> Terms:
    """P, or the part of it that the labels `among` [L] contribute."""
    hits = block.hits if among is None else block.hits & among[block.ranked]
    return _cumulated(hits), np.broadcast_to(_ranks(block).astype(np.float64), hits.shape)


def recall(block: Block, among: NDArray[np.bool_] | None = None) -> Terms:
    """R; of the labels `among` [L], it is that of the documents that have one."""
    if among is None:
        return _cumulated(block.hits) / np.maximum(block.counts, 1)[:, None], np.ones(block.hits.shape)
    counts = np.bincount(block.documents[among[block.positives]], minlength=len(block.counts))[:, None]
    hits = _cumulated(block.hits & among[block.ranked])
    return hits / np.maximum(counts, 1), np.broadcast_to((counts > 0).astype(np.float64), hits.shape)


def ndcg(block: Block) -> Terms:
    return _normalised_dcg(block.hits, block.counts), np.ones(block.hits.shape)


def psp(block: Block, weight: Values) -> Terms:
    """weight: inverse propensity of each label, [L]."""
    return block.gains(weight).cumsum(axis=1), block.best_gains(weight).cumsum(axis=1)


def psndcg(block: Block, weight: Values) -> Terms:
    """weight: inverse propensity of each label, [L]."""
    gained, possible = block.gains(weight), block.best_gains(weight)
    return _normalised_dcg(gained, block.counts), _normalised_dcg(possible, block.counts)


def f1(block: Block) -> Terms:
    """F1 of each document, its first labels taken as the predicted set; 0 where there is no label at all."""
    sizes = _cumulated(block.ranked >= 0) + block.counts[:, None]
    return 2 * _cumulated(block.hits) / np.maximum(sizes, 1), np.ones(block.hits.shape)


def micro_f1(block: Block) -> Terms:
    return 2 * _cumulated(block.hits), _cumulated(block.ranked >= 0) + block.counts[:, None]


BY_DOCUMENT: Final[dict[str, TermsOf]] = {"P": precision, "R": recall, "F1": f1, "nDCG": ndcg}
"""Metrics that are means over documents."""


def families(weight: Values, bins: NDArray[np.int64]) -> dict[str, TermsOf]:
    """Every metric that is a ratio of sums over documents, by name.

    weight: inverse propensity of each label, [L]. bins: head, torso or tail, by label, [L].
    """
    by_family: dict[str, TermsOf] = BY_DOCUMENT | {
        "PSP": partial(psp, weight=weight),
        "PSnDCG": partial(psndcg, weight=weight),
        "micro-F1": micro_f1,
    }
    by_family |= {f"{name}-P": partial(precision, among=bins == b) for b, name in enumerate(BINS)}
    by_family |= {f"{name}-R": partial(recall, among=bins == b) for b, name in enumerate(BINS)}
    return by_family


def ratio_of_sums(terms: TermsOf, labels: Labels, truth: CSR, k: int) -> Values:
    """The metric at 1..k, float64 [k]; 0 where nothing counts."""
    gained, counted = np.zeros(k), np.zeros(k)
    for block in blocks(labels, truth, k):
        of_documents = terms(block)
        gained += of_documents[0].sum(axis=0)
        counted += of_documents[1].sum(axis=0)
    return ratio(gained, counted)


def blocks(labels: Labels, truth: CSR, k: int) -> Iterator[Block]:
    """Predictions [N, >= k] and truth, CSR [N, L] with ascending indices, a chunk of documents at a time."""
    num_labels = truth.shape[1]
    for rows in chunks(truth.shape[0]):
        offsets = truth.indptr[rows.start : rows.stop + 1]
        positives = truth.indices[offsets[0] : offsets[-1]]
        counts = np.diff(offsets).astype(np.int64)
        documents = np.repeat(np.arange(len(counts)), counts)
        ranked = labels[rows, :k]
        queries = keys(np.arange(len(counts))[:, None], ranked, num_labels)
        hits = contains(keys(documents, positives, num_labels), queries)
        yield Block(ranked, hits, documents, positives, counts)


def chunks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))


def keys(documents: Labels, labels: Labels, num_labels: int) -> NDArray[np.int64]:
    """One number for each (document, label), ascending as the pairs are; a missing label (-1) has its own."""
    return documents.astype(np.int64) * (num_labels + 1) + labels + 1


def contains(ascending: NDArray[np.int64], queries: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which queries are among the ascending keys."""
    if not ascending.size:
        return np.zeros(queries.shape, dtype=np.bool_)
    return ascending[np.minimum(np.searchsorted(ascending, queries), ascending.size - 1)] == queries


def ratio(a: ArrayLike, b: ArrayLike) -> Values:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=np.asarray(b) > 0)


def _normalised_dcg(gains: Values | NDArray[np.bool_], counts: NDArray[np.int64]) -> Values:
    """DCG of gains [n, k] at 1..k over that of a list with all of a document's `counts` true labels in front."""
    ranks = np.arange(1, gains.shape[1] + 1)
    discount = 1 / np.log2(ranks + 1)
    ideal = discount.cumsum()[np.clip(counts[:, None], 1, ranks) - 1]
    return (gains * discount).cumsum(axis=1) / ideal


def _cumulated(flags: NDArray[np.bool_]) -> Values:
    return flags.cumsum(axis=1, dtype=np.float64)


def _ranks(block: Block) -> NDArray[np.int64]:
    return np.arange(1, block.hits.shape[1] + 1)
