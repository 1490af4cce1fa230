"""Weights of several rankings of the same documents, by what their sum is worth."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Labels = NDArray[np.int64]
Scores = NDArray[np.floating]

_STEPS = (0.1, 0.025)  # of the weights: all of them first, then those around the best


def fit_weights(lists: Sequence[tuple[Labels, Scores]], truth: csr_matrix, k: int = 5) -> tuple[float, ...]:
    """The non-negative weights of sum 1 whose sum of scores has the best nDCG@k; at equal worth, of those tried, the
    first, which gives the first ranking most.

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

    best = max(_simplex(len(lists), _STEPS[0]), key=worth)
    fine = [weights for weights in _simplex(len(lists), _STEPS[1]) if np.abs(np.subtract(weights, best)).max() < 0.08]
    return max([best, *fine], key=worth)


def _simplex(size: int, step: float) -> list[tuple[float, ...]]:
    """All weights of sum 1 in multiples of `step`, those that give the first the most at the front."""
    count = round(1 / step)
    heads = product(range(count, -1, -1), repeat=size - 1)
    return [tuple(n / count for n in (*head, count - sum(head))) for head in heads if sum(head) <= count]


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
    rows = np.repeat(np.arange(len(names)), names.shape[1])
    pairs = rows * (truth.shape[1] + 1) + columns.ravel()
    documents = np.repeat(np.arange(truth.shape[0]), np.diff(truth.indptr))
    true = documents * (truth.shape[1] + 1) + truth.indices
    return table, (np.isin(pairs, true) & (columns.ravel() >= 0)).reshape(names.shape)
