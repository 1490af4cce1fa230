"""Weights of several rankings of the same documents, by what their sum is worth."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from xmc.evaluate.metrics import Labels, correct

Scores = NDArray[np.floating]
Weights = tuple[float, ...]

_RATIOS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # of a ranking's weight to those of the others
_NEARER = (0.4, 0.55, 0.75, 0.9, 1.1, 1.35, 1.8, 2.5)  # of what it was
_LEAST = 1e-3  # of all weights together: less is none, whatever it breaks ties for


def fit_weights(lists: Sequence[tuple[Labels, Scores]], truth: csr_matrix, k: int = 5) -> Weights:
    """The non-negative weights of sum 1 whose sum of scores has the best nDCG@k that coordinate ascent finds.

    It starts from the best ranking alone and from all alike, and tries for one ranking after the other weights on a
    scale of powers, since the scores of one may be a hundred times those of another. At equal worth what was there
    first stays: the best ranking alone, where the others add nothing.

    lists: labels [N, m], -1 where there is none, and scores of each ranking. truth: CSR [N, L].
    """
    worth = _worth(lists, truth, k)
    alone = max((_normalised(row) for row in np.eye(len(lists))), key=worth)
    return max([_ascended(start, worth) for start in (alone, _normalised(np.ones(len(lists))))], key=worth)


def _ascended(weights: Weights, worth: Callable[[Weights], float]) -> Weights:
    """The weights from which no step for one ranking alone leads higher."""
    reached, before = worth(weights), None
    while weights != before:
        before = weights
        for ranking in range(len(weights)):
            for candidate in _steps(weights, ranking):
                if (value := worth(candidate)) > reached:
                    weights, reached = candidate, value
    return weights


def _steps(weights: Weights, ranking: int) -> Iterator[Weights]:
    """These weights with others for one ranking; where it is all that counts, there are none."""
    own, others = weights[ranking], sum(weights) - weights[ranking]
    if others > 0:
        for weight in (*(others * ratio for ratio in _RATIOS), *(own * nearer for nearer in _NEARER if own)):
            yield _normalised([*weights[:ranking], weight, *weights[ranking + 1 :]])


def _normalised(weights: Sequence[float] | NDArray[np.floating]) -> Weights:
    least = sum(weights) * _LEAST
    counted = [float(weight) if weight >= least else 0.0 for weight in weights]
    return tuple(weight / sum(counted) for weight in counted)


def _worth(lists: Sequence[tuple[Labels, Scores]], truth: csr_matrix, k: int) -> Callable[[Weights], float]:
    """nDCG@k of weights, averaged over the documents with a true label."""
    table, hits = _table(lists, truth)
    documents = np.arange(truth.shape[0])
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0], discounts.cumsum()])[np.minimum(np.diff(truth.indptr), k)]
    usable = ideal > 0

    def worth(weights: Weights) -> float:
        scores = np.tensordot(np.asarray(weights, np.float32), table, axes=1)
        gained = np.zeros(len(documents))
        for discount in discounts[: scores.shape[1]]:
            best = scores.argmax(axis=1)  # of equal ones the first
            gained += discount * hits[documents, best]
            scores[documents, best] = -np.inf
        return float((gained[usable] / ideal[usable]).mean()) if usable.any() else 0.0

    return worth


def _table(lists: Sequence[tuple[Labels, Scores]], truth: csr_matrix) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The scores that each ranking gives each document's candidates, [rankings, N, C], and whether they are true."""
    candidates = np.concatenate([labels for labels, _ in lists], axis=1)
    order = np.argsort(candidates, axis=1, kind="stable")
    names = np.take_along_axis(candidates, order, axis=1)
    new = np.ones(names.shape, np.bool_)
    new[:, 1:] = names[:, 1:] != names[:, :-1]
    place_of = np.empty_like(order)
    np.put_along_axis(place_of, order, new.cumsum(axis=1) - 1, axis=1)
    table = np.zeros((len(lists), *names.shape), np.float32)
    start = 0
    for of_one, (labels, scores) in zip(table, lists, strict=True):
        places = place_of[:, start : start + labels.shape[1]]
        np.put_along_axis(of_one, places, np.where(labels < 0, 0, scores), axis=1)
        start += labels.shape[1]
    columns = np.full(names.shape, -1, np.int64)
    np.put_along_axis(columns, place_of, candidates, axis=1)
    return table, correct(columns, truth)
