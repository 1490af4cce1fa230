"""Metrics of ranked label lists against the true labels, in float64, never with an N x L matrix.

Throughout, `labels` are the predictions, an integer array [N, >= k] as `ranked_labels` takes them from a TopK: best
first, -1 where there is no candidate. `truth` is a scipy CSR matrix [N, L] whose non-zero entries are the true labels.
Values come for every cut-off 1..k at once, float64 [k] in 0..1, larger is better. Documents without a true label stay
in the means and count 0, and so do missing candidates. P, R, nDCG, PSP and PSnDCG are those of pyxclib 0.97.

Every function walks over the documents a chunk at a time, so its memory is O(chunk * k + L). All raise ValueError,
naming the argument, for a label out of range or repeated within a list and for shapes that do not belong together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from xmc.types import TopK

CSR = sp.csr_array | sp.csr_matrix
Labels = NDArray[np.integer]
Values = NDArray[np.float64]

BINS: Final = ("head", "torso", "tail")
_CHUNK = 16_384


def ranked_labels(topk: TopK) -> NDArray[np.int64]:
    """The lists of a TopK as int64 [N, k], checked to be ranked: scores fall, and equal scores rank by ascending label.

    The tie rule makes every metric a function of the scores alone. Raises ValueError where a list breaks it, has a
    NaN score, or has a candidate behind a missing one.
    """
    labels: NDArray[np.int64] = topk.labels.cpu().numpy()
    scores = topk.scores.float().cpu().numpy()
    left, right = labels[:, :-1], labels[:, 1:]
    falls = scores[:, :-1] > scores[:, 1:]
    ties = (scores[:, :-1] == scores[:, 1:]) & (left >= 0) & (left < right)
    unranked = ~np.where(right == -1, True, (left >= 0) & (falls | ties)).all(axis=1) | np.isnan(scores).any(axis=1)
    if unranked.any():
        rule = "falling scores, equal ones by ascending label, -1 last"
        raise ValueError(f"topk: expected {rule}; document {unranked.argmax()} is not so")
    return labels


def correct(labels: Labels, truth: CSR) -> NDArray[np.bool_]:
    """Which of the predictions are true, [N, k]."""
    truth = _checked(labels, truth, k := labels.shape[1])
    return np.concatenate([block.hits for block in _blocks(labels, truth, k)])


def precision_at_k(labels: Labels, truth: CSR, k: int) -> Values:
    """P@1..k: correct labels among the first j of a list, over j, averaged over documents."""
    truth = _checked(labels, truth, k)
    hits = sum((block.hits.sum(axis=0) for block in _blocks(labels, truth, k)), np.zeros(k))
    return hits.cumsum() / (np.arange(1, k + 1) * truth.shape[0])


def recall_at_k(labels: Labels, truth: CSR, k: int) -> Values:
    """R@1..k: correct labels among the first j of a list, over the document's true labels, averaged over documents."""
    truth = _checked(labels, truth, k)
    total = np.zeros(k)
    for block in _blocks(labels, truth, k):
        total += (block.hits.cumsum(axis=1) / np.maximum(block.counts, 1)[:, None]).sum(axis=0)
    return total / truth.shape[0]


def ndcg_at_k(labels: Labels, truth: CSR, k: int) -> Values:
    """nDCG@1..k: gains discounted by 1 / log2(rank + 1), over those of the best possible list of j labels."""
    truth = _checked(labels, truth, k)
    total = np.zeros(k)
    for block in _blocks(labels, truth, k):
        total += _normalised_dcg(block.hits, block.counts).sum(axis=0)
    return total / truth.shape[0]


def psp_at_k(labels: Labels, truth: CSR, inverse_propensity: Values, k: int) -> Values:
    """PSP@1..k: P@j with each correct label weighted by its inverse propensity [L], over the largest value possible.

    Jain et al., KDD 2016, section 4.3, as the repository reports it: a ratio of means over documents.
    """
    truth = _checked(labels, truth, k, inverse_propensity=inverse_propensity)
    gained, possible = np.zeros(k), np.zeros(k)
    for block in _blocks(labels, truth, k):
        gained += block.gains(inverse_propensity).sum(axis=0)
        possible += block.best_gains(inverse_propensity).sum(axis=0)
    return _ratio(gained.cumsum(), possible.cumsum())


def psndcg_at_k(labels: Labels, truth: CSR, inverse_propensity: Values, k: int) -> Values:
    """PSnDCG@1..k: nDCG@j with inverse propensities [L] as gains, over the largest value possible; a ratio of means."""
    truth = _checked(labels, truth, k, inverse_propensity=inverse_propensity)
    gained, possible = np.zeros(k), np.zeros(k)
    for block in _blocks(labels, truth, k):
        gained += _normalised_dcg(block.gains(inverse_propensity), block.counts).sum(axis=0)
        possible += _normalised_dcg(block.best_gains(inverse_propensity), block.counts).sum(axis=0)
    return _ratio(gained, possible)


def f1_at_k(labels: Labels, truth: CSR, k: int, average: Literal["micro", "macro"]) -> Values:
    """F1@1..k, the first j labels of each list taken as the predicted set.

    micro: over all (document, label) decisions together. macro: the mean of each label's F1 over the labels with at
    least one true document, so that its scale does not hang on how many of the L labels the split happens to hold.
    """
    truth = _checked(labels, truth, k)
    true = _documents_per_label(truth)
    present = true > 0
    values = np.zeros(k)
    for j, (correct, predicted) in enumerate(_label_counts(labels, truth, k)):
        if average == "micro":
            values[j] = _ratio(2.0 * correct.sum(), predicted.sum() + true.sum())
        elif present.any():
            values[j] = np.mean(2.0 * correct[present] / (predicted + true)[present])
    return values


def coverage_at_k(labels: Labels, truth: CSR, k: int) -> Values:
    """Coverage@1..k: the share of labels with a true document that are found, within the first j, for at least one.

    After Schultheis et al., NeurIPS 2023 (arXiv 2311.05081), who divide by all L; here a perfect model reaches 1.
    """
    truth = _checked(labels, truth, k)
    present = np.count_nonzero(_documents_per_label(truth))
    found = [np.count_nonzero(correct) for correct, _ in _label_counts(labels, truth, k)]
    return _ratio(found, present)


def frequency_bins(train_counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Bin of each label by its number of training documents, int64 [L]: 0 head, 1 torso, 2 tail.

    Equi-voluminous bins, as in ECLARE (Mittal et al., WWW 2021): by falling frequency, each takes a third of the
    training assignments. Labels of one frequency share the bin of the first of them; those without a document are tail.
    """
    counts = np.asarray(train_counts)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ValueError(f"train_counts: expected integers >= 0 of shape [L], got {counts.dtype} {counts.shape}")
    frequencies, inverse, labels = np.unique(counts, return_inverse=True, return_counts=True)
    volume = frequencies.astype(np.int64) * labels
    more_frequent = volume.sum() - volume.cumsum()
    bins = np.minimum(len(BINS) * more_frequent // max(volume.sum(), 1), len(BINS) - 1)
    return np.where(frequencies > 0, bins, len(BINS) - 1)[inverse]


def precision_by_bin(labels: Labels, truth: CSR, bins: NDArray[np.int64], k: int) -> Values:
    """What the labels of each bin contribute to P@1..k, float64 [3, k]; the bins add up to `precision_at_k`."""
    truth = _checked(labels, truth, k, bins=bins)
    hits = np.zeros((len(BINS), k))
    for block in _blocks(labels, truth, k):
        for b in range(len(BINS)):
            hits[b] += (block.hits & (bins[block.ranked] == b)).sum(axis=0)
    return hits.cumsum(axis=1) / (np.arange(1, k + 1) * truth.shape[0])


def recall_by_bin(labels: Labels, truth: CSR, bins: NDArray[np.int64], k: int) -> Values:
    """R@1..k of the true labels of each bin, float64 [3, k], averaged over the documents that have one (0 if none)."""
    truth = _checked(labels, truth, k, bins=bins)
    total, documents = np.zeros((len(BINS), k)), np.zeros((len(BINS), 1))
    for block in _blocks(labels, truth, k):
        for b in range(len(BINS)):
            counts = np.bincount(block.documents[bins[block.positives] == b], minlength=len(block.counts))
            hits = (block.hits & (bins[block.ranked] == b)).cumsum(axis=1)
            total[b] += (hits / np.maximum(counts, 1)[:, None]).sum(axis=0)
            documents[b] += np.count_nonzero(counts)
    return _ratio(total, documents)


def leave_out(labels: Labels, truth: CSR, pairs: NDArray[np.integer]) -> tuple[Labels, CSR]:
    """Predictions and truth without the given (document, label) pairs, as the filter files of the LF- sets ask.

    pairs: integers [M, 2]. The remaining candidates of a list move up in their order and -1 fills its end; for k of
    them, ask the model for k plus the largest number of pairs that one document has.
    """
    truth = _checked(labels, truth, labels.shape[1])
    n, num_labels = len(labels), truth.shape[1]
    if pairs.ndim != 2 or pairs.shape[-1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(f"pairs: expected integers of shape [M, 2], got {pairs.dtype} {pairs.shape}")
    if pairs.size and (pairs.min() < 0 or (pairs.max(axis=0) >= (n, num_labels)).any()):
        raise ValueError(f"pairs: expected documents below {n} and labels below {num_labels}, none negative")
    left_out = np.unique(_keys(pairs[:, 0], pairs[:, 1], num_labels))
    kept = labels.copy()
    for rows in _chunks(n):
        block = labels[rows]
        drop = _contains(left_out, _keys(np.arange(n)[rows, None], block, num_labels))
        order = np.argsort(drop, axis=1, kind="stable")
        kept[rows] = np.take_along_axis(np.where(drop, -1, block), order, axis=1)
    truth = truth.copy()
    documents = np.repeat(np.arange(n), np.diff(truth.indptr))
    truth.data[_contains(left_out, _keys(documents, truth.indices, num_labels))] = 0
    truth.eliminate_zeros()
    return kept, truth


@dataclass(frozen=True, slots=True)
class _Block:
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


def _blocks(labels: Labels, truth: CSR, k: int) -> Iterator[_Block]:
    num_labels = truth.shape[1]
    for rows in _chunks(truth.shape[0]):
        offsets = truth.indptr[rows.start : rows.stop + 1]
        positives = truth.indices[offsets[0] : offsets[-1]]
        counts = np.diff(offsets).astype(np.int64)
        documents = np.repeat(np.arange(len(counts)), counts)
        ranked = labels[rows, :k]
        queries = _keys(np.arange(len(counts))[:, None], ranked, num_labels)
        hits = _contains(_keys(documents, positives, num_labels), queries)
        yield _Block(ranked, hits, documents, positives, counts)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK))


def _keys(documents: Labels, labels: Labels, num_labels: int) -> NDArray[np.int64]:
    """One number for each (document, label), ascending as the pairs are; a missing label (-1) has its own."""
    return documents.astype(np.int64) * (num_labels + 1) + labels + 1


def _contains(keys: NDArray[np.int64], queries: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which queries are among the ascending keys."""
    if not keys.size:
        return np.zeros(queries.shape, dtype=np.bool_)
    return keys[np.minimum(np.searchsorted(keys, queries), keys.size - 1)] == queries


def _label_counts(labels: Labels, truth: CSR, k: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each cut-off 1..k: how often each label is predicted correctly, and predicted at all, int64 [L] each."""
    correct, predicted = np.zeros((2, truth.shape[1]), dtype=np.int64)
    for j in range(k):
        for block in _blocks(labels[:, j : j + 1], truth, 1):
            np.add.at(correct, block.ranked[block.hits], 1)
            np.add.at(predicted, block.ranked[block.ranked >= 0], 1)
        yield correct, predicted


def _documents_per_label(truth: CSR) -> NDArray[np.int64]:
    return np.bincount(truth.indices, minlength=truth.shape[1])


def _normalised_dcg(gains: Values | NDArray[np.bool_], counts: NDArray[np.int64]) -> Values:
    """DCG of gains [n, k] at 1..k over that of a list with all of a document's `counts` true labels in front."""
    ranks = np.arange(1, gains.shape[1] + 1)
    discount = 1 / np.log2(ranks + 1)
    ideal = discount.cumsum()[np.clip(counts[:, None], 1, ranks) - 1]
    return (gains * discount).cumsum(axis=1) / ideal


def _ratio(a: ArrayLike, b: ArrayLike) -> Values:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=np.asarray(b) > 0)


def _checked(labels: Labels, truth: CSR, k: int, **per_label: NDArray[np.generic]) -> CSR:
    """The truth with ascending, unrepeated, non-zero entries, once all arguments are found to belong together."""
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels: expected integers of shape [N, k], got {labels.dtype} {labels.shape}")
    if not 1 <= k <= labels.shape[1]:
        raise ValueError(f"k: expected 1 to {labels.shape[1]}, the width of labels, got {k}")
    if not (sp.issparse(truth) and truth.format == "csr"):
        raise ValueError(f"truth: expected a scipy CSR matrix, got {type(truth).__name__}")
    n, num_labels = truth.shape
    if n != len(labels) or n == 0:
        raise ValueError(f"truth: expected as many documents as labels has rows, at least 1; got {n} and {len(labels)}")
    for name, values in per_label.items():
        if values.shape != (num_labels,):
            raise ValueError(f"{name}: expected one for each of the {num_labels} labels, got shape {values.shape}")
    for rows in _chunks(n):
        ascending = np.sort(labels[rows], axis=1)
        if ascending[:, 0].min() < -1 or ascending[:, -1].max() >= num_labels:
            raise ValueError(f"labels: expected -1 to {num_labels - 1}, got {ascending.min()} to {ascending.max()}")
        repeated = ((ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] >= 0)).any(axis=1)
        if repeated.any():
            raise ValueError(f"labels: document {rows.start + repeated.argmax()} lists a label twice")
    if truth.has_canonical_format and truth.data.all():
        return truth
    truth = truth.copy()
    truth.sum_duplicates()
    truth.eliminate_zeros()
    return truth
