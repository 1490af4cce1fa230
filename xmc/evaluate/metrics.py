"""Metrics of ranked label lists against the true labels, in float64, never with an N x L matrix.

Throughout, `labels` are the predictions, an integer array [N, >= k] as `ranked_labels` takes them from a TopK: best
first, -1 where there is no candidate. `truth` is a scipy CSR matrix [N, L] whose non-zero entries are the true labels.
Values come for every cut-off 1..k at once, float64 [k] in 0..1, larger is better. Documents without a true label stay
in the means and count 0, and so do missing candidates. P, R, nDCG, PSP and PSnDCG are those of pyxclib 0.97.

Every function walks over the documents a chunk at a time, so its memory is O(chunk * k + L). All raise ValueError,
naming the argument, for a label out of range or repeated within a list and for shapes that do not belong together.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from xmc.evaluate import terms
from xmc.evaluate.terms import (
    BINS,
    CSR,
    Labels,
    Terms,
    Values,
    blocks,
    chunks,
    contains,
    keys,
    ratio,
    ratio_of_sums,
)
from xmc.types import TopK


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
    truth = checked(labels, truth, k := labels.shape[1])
    return np.concatenate([block.hits for block in blocks(labels, truth, k)])


def precision_at_k(labels: Labels, truth: CSR, k: int) -> Values:
    """P@1..k: correct labels among the first j of a list, over j, averaged over documents."""
    return ratio_of_sums(terms.precision, labels, checked(labels, truth, k), k)


def recall_at_k(labels: Labels, truth: CSR, k: int) -> Values:
    """R@1..k: correct labels among the first j of a list, over the document's true labels, averaged over documents."""
    return ratio_of_sums(terms.recall, labels, checked(labels, truth, k), k)


def ndcg_at_k(labels: Labels, truth: CSR, k: int) -> Values:
    """nDCG@1..k: gains discounted by 1 / log2(rank + 1), over those of the best possible list of j labels."""
    return ratio_of_sums(terms.ndcg, labels, checked(labels, truth, k), k)


def psp_at_k(labels: Labels, truth: CSR, inverse_propensity: Values, k: int) -> Values:
    """PSP@1..k: P@j with each correct label weighted by its inverse propensity [L], over the largest value possible.

    Jain et al., KDD 2016, section 4.3, as the repository reports it: a ratio of means over documents.
    """
    truth = checked(labels, truth, k, inverse_propensity=inverse_propensity)
    return ratio_of_sums(partial(terms.psp, weight=inverse_propensity), labels, truth, k)


def psndcg_at_k(labels: Labels, truth: CSR, inverse_propensity: Values, k: int) -> Values:
    """PSnDCG@1..k: nDCG@j with inverse propensities [L] as gains, over the largest value possible; a ratio of means."""
    truth = checked(labels, truth, k, inverse_propensity=inverse_propensity)
    return ratio_of_sums(partial(terms.psndcg, weight=inverse_propensity), labels, truth, k)


def f1_at_k(labels: Labels, truth: CSR, k: int, average: Literal["samples", "micro", "macro"]) -> Values:
    """F1@1..k, the first j labels of each list taken as the predicted set.

    samples: the mean of each document's F1, as Annif has it. micro: over all (document, label) decisions together.
    macro: the mean of each label's F1 over the labels with at least one true document, so that its scale does not hang
    on how many of the L labels the split happens to hold.
    """
    truth = checked(labels, truth, k)
    if average != "macro":
        return ratio_of_sums(terms.f1 if average == "samples" else terms.micro_f1, labels, truth, k)
    true = _documents_per_label(truth)
    present = true > 0
    values = np.zeros(k)
    for j, (correct, predicted) in enumerate(_label_counts(labels, truth, k)):
        if present.any():
            values[j] = np.mean(2.0 * correct[present] / (predicted + true)[present])
    return values


def coverage_at_k(labels: Labels, truth: CSR, k: int) -> Values:
    """Coverage@1..k: the share of labels with a true document that are found, within the first j, for at least one.

    After Schultheis et al., NeurIPS 2023 (arXiv 2311.05081), who divide by all L; here a perfect model reaches 1.
    """
    truth = checked(labels, truth, k)
    present = np.count_nonzero(_documents_per_label(truth))
    found = [np.count_nonzero(correct) for correct, _ in _label_counts(labels, truth, k)]
    return ratio(found, present)


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
    return _by_bin(terms.precision, labels, truth, bins, k)


def recall_by_bin(labels: Labels, truth: CSR, bins: NDArray[np.int64], k: int) -> Values:
    """R@1..k of the true labels of each bin, float64 [3, k], averaged over the documents that have one (0 if none)."""
    return _by_bin(terms.recall, labels, truth, bins, k)


def leave_out(labels: Labels, truth: CSR, pairs: NDArray[np.integer]) -> tuple[Labels, CSR]:
    """Predictions and truth without the given (document, label) pairs, as the filter files of the LF- sets ask.

    pairs: integers [M, 2]. The remaining candidates of a list move up in their order and -1 fills its end; for k of
    them, ask the model for k plus the largest number of pairs that one document has.
    """
    truth = checked(labels, truth, labels.shape[1])
    n, num_labels = len(labels), truth.shape[1]
    if pairs.ndim != 2 or pairs.shape[-1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(f"pairs: expected integers of shape [M, 2], got {pairs.dtype} {pairs.shape}")
    if pairs.size and (pairs.min() < 0 or (pairs.max(axis=0) >= (n, num_labels)).any()):
        raise ValueError(f"pairs: expected documents below {n} and labels below {num_labels}, none negative")
    left_out = np.unique(keys(pairs[:, 0], pairs[:, 1], num_labels))
    kept = labels.copy()
    for rows in chunks(n):
        block = labels[rows]
        drop = contains(left_out, keys(np.arange(n)[rows, None], block, num_labels))
        order = np.argsort(drop, axis=1, kind="stable")
        kept[rows] = np.take_along_axis(np.where(drop, -1, block), order, axis=1)
    truth = truth.copy()
    documents = np.repeat(np.arange(n), np.diff(truth.indptr))
    truth.data[contains(left_out, keys(documents, truth.indices, num_labels))] = 0
    truth.eliminate_zeros()
    return kept, truth


def _by_bin(of: Callable[..., Terms], labels: Labels, truth: CSR, bins: NDArray[np.int64], k: int) -> Values:
    truth = checked(labels, truth, k, bins=bins)
    members = (bins == b for b in range(len(BINS)))
    return np.stack([ratio_of_sums(partial(of, among=among), labels, truth, k) for among in members])


def _label_counts(labels: Labels, truth: CSR, k: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each cut-off 1..k: how often each label is predicted correctly, and predicted at all, int64 [L] each."""
    correct, predicted = np.zeros((2, truth.shape[1]), dtype=np.int64)
    for j in range(k):
        for block in blocks(labels[:, j : j + 1], truth, 1):
            np.add.at(correct, block.ranked[block.hits], 1)
            np.add.at(predicted, block.ranked[block.ranked >= 0], 1)
        yield correct, predicted


def _documents_per_label(truth: CSR) -> NDArray[np.int64]:
    return np.bincount(truth.indices, minlength=truth.shape[1])


def checked(labels: Labels, truth: CSR, k: int, **per_label: NDArray[np.generic]) -> CSR:
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
    for rows in chunks(n):
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
