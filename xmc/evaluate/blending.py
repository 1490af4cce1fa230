"""Weights of several rankings of the same documents, by what their sum is worth."""

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from xmc.evaluate.metrics import Labels, correct

Scores = NDArray[np.floating]

_RATIOS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # of a ranking's weight to the first one's
_NEARER = (0.4, 0.55, 0.75, 1.0, 1.35, 1.8, 2.5)  # of the best of these


def fit_weights(lists: Sequence[tuple[Labels, Scores]], truth: csr_matrix, k: int = 5) -> tuple[float, ...]:
    """The non-negative weights of sum 1 whose sum of scores has the best nDCG@k; at equal worth, of those tried, the
    first, which gives the first ranking most. Their ratios are searched on a scale of powers, since the scores of one
    ranking may be a hundred times those of another.

    lists: labels [N, m], -1 where there is none, and scores of each ranking. truth: CSR [N, L].
    """
    table, hits = _table(lists, truth)
    true = np.diff(truth.indptr)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0], discounts.cumsum()])[np.minimum(true, k)]
    usable = ideal > 0

    def worth(weights: Sequence[float]) -> float:
        scores = np.tensordot(np.asarray(weights, np.float32), table, axes=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        gained = np.take_along_axis(hits, best, axis=1) @ discounts[: best.shape[1]]
        return float((gained[usable] / ideal[usable]).mean()) if usable.any() else 0.0

    rest = len(lists) - 1
    coarse = [_normalised(1.0, ratios) for ratios in product(_RATIOS, repeat=rest)]
    coarse += [_normalised(0.0, ratios) for ratios in product(_RATIOS, repeat=rest) if any(ratios)]
    best = max(coarse, key=worth)
    fine = [_normalised(best[0], np.multiply(best[1:], factors)) for factors in product(_NEARER, repeat=rest)]
    return max([best, *fine], key=worth)


def _normalised(first: float, others: Iterable[float]) -> tuple[float, ...]:
    weights = [first, *map(float, others)]
    return tuple(weight / sum(weights) for weight in weights)


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
