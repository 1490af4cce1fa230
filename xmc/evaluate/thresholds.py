"""From which probability on a label is assigned: choosing thresholds, and how good the assigned labels are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate.metrics import CSR, Labels, Values, correct, f1_at_k


@dataclass(frozen=True, slots=True)
class Assignment:
    """How good assigned labels are, each figure from 0 to 1 and larger is better, but for `per_document`.

    precision, recall, micro_f1: over all decisions. macro_f1: the mean over the labels with a true document.
    per_document: assigned labels of a document.
    """

    micro_f1: float
    macro_f1: float
    precision: float
    recall: float
    per_document: float


def best_thresholds(
    scores: Values,
    labels: NDArray[np.integer],
    hits: NDArray[np.bool_],
    positives: NDArray[np.integer],
    precision: float | None = None,
) -> Values:
    """The best threshold of each label, float64 [L], from M pairs of document and label.

    precision None: the largest F1 of the label (SCut: Yang, SIGIR 2001; Fan and Lin 2007). Else: the most pairs among
    which the share of true ones is at least that. A threshold lies halfway between the last score above it and the
    next; of equally good ones the highest is taken. NaN where no threshold gives a true pair, or that precision.

    scores, labels, hits: [M]. positives: [L], true documents of each label, those without a pair included.
    """
    order = np.lexsort((-scores, labels))
    scores, labels, hits = scores[order], labels[order], hits[order]
    new = np.concatenate([[True], labels[1:] != labels[:-1]])[: len(labels)]
    starts = np.flatnonzero(new)
    first = starts[new.cumsum() - 1]
    taken = np.arange(len(labels)) - first + 1
    right = hits.cumsum() - (hits.cumsum() - hits)[first]
    f1 = 2 * right / (taken + positives[labels])
    value = f1 if precision is None else taken * (right / taken >= precision)
    between = np.concatenate([new[1:] | (scores[1:] < scores[:-1]), [True]])[: len(labels)]  # not among equal scores
    value = np.where(between & (right > 0), value, 0)
    best = np.lexsort((taken, -value, labels))[starts]
    lower = np.minimum(best + 1, len(labels) - 1)
    halfway = (scores[best] + scores[lower]) / 2
    threshold = np.where(labels[lower] == labels[best], halfway, scores[best])
    thresholds = np.full(len(positives), np.nan)
    thresholds[labels[best]] = np.where(value[best] > 0, threshold, np.nan)
    return thresholds


def assignment(labels: Labels, scores: Values, thresholds: Values, truth: CSR) -> Assignment:
    """How good the labels are that reach their threshold.

    labels: ranked lists [N, k], -1 where there is no candidate. scores: [N, k]. thresholds: [L]. truth: CSR [N, L].
    """
    assigned = np.where((labels >= 0) & (scores >= thresholds[labels]), labels, -1)
    predicted, true = int(np.count_nonzero(assigned >= 0)), int(truth.nnz)
    right = int(np.count_nonzero(correct(assigned, truth)))
    return Assignment(
        micro_f1=2 * right / max(predicted + true, 1),
        macro_f1=float(f1_at_k(assigned, truth, assigned.shape[1], "macro")[-1]),
        precision=right / max(predicted, 1),
        recall=right / max(true, 1),
        per_document=predicted / len(labels),
    )
