"""Several rankings of the same documents made one, by a logistic regression on what they say of a label.

Stacking (Wolpert 1992, "Stacked generalization"): how much a ranking is worth depends on how sure it is, how far the
label is behind its best, and how many documents the label has.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xmc.types import TopK

MIXTURE = np.array([0.5, 0.4, 0.1], np.float32)  # of network, tree and centroids, which come first
_LOWEST = np.float32(1e-4)  # probability that a label has in a ranking without it
_PER_LOG_ODDS, _PER_LOG_COUNT = np.float32(0.2), np.float32(0.2)  # features of like size, for one prior
_PRIOR = np.array(  # the mean of what was fitted to the dev documents of five sets
    [
        *(0.41, 0.71),
        *(-0.22, 0.94, 1.26, -0.33, -0.35, -1.02, -0.87, -0.05, 0.41, 1.18),
        *(0.58, -0.08, -0.15, -0.03, 0.06, 0.45, -0.60, 0.11, 0.12, -1.65),
    ],
    np.float32,
)

Scores = NDArray[np.float32]


def num_features(rankings: int) -> int:
    """How many `meta_features` there are of so many rankings."""
    return 2 + 2 * (1 + 3 * rankings)


def prior(rankings: int) -> Scores:
    """The coefficients of `meta_features` before any dev document is seen; of rankings beyond the three, 0."""
    ones, of_three = _PRIOR[2:].reshape(2, -1)[:, :1], _PRIOR[2:].reshape(2, -1)[:, 1:].reshape(2, 3, 3)
    of_all = np.pad(of_three, ((0, 0), (0, 0), (0, rankings - 3))).reshape(2, -1)
    return np.concatenate([_PRIOR[:2], np.concatenate([ones, of_all], axis=1).ravel()])


def candidates(rankings: Sequence[TopK]) -> tuple[NDArray[np.int64], Scores]:
    """The labels of all rankings, [B, C], each once and ascending, -1 behind them; and the scores that each ranking
    gives them, [rankings, B, C], 0 where it has not got them."""
    labels = np.concatenate([top.labels.numpy() for top in rankings], axis=1)
    size, width = labels.shape
    order = labels.argsort(axis=1, kind="stable")
    rows = np.arange(size)[:, None]
    ascending = labels[rows, order]
    new = ascending >= 0
    new[:, 1:] &= ascending[:, 1:] != ascending[:, :-1]
    place = np.empty_like(order)
    place[rows, order] = np.where(ascending < 0, width, new.cumsum(axis=1) - 1)  # the last, for none, is cut off
    names = np.full((size, width + 1), -1, np.int64)
    names[rows, place] = labels
    scores, start = np.zeros((len(rankings), size, width + 1), np.float32), 0
    for of_one, top in zip(scores, rankings, strict=True):
        stop = start + top.labels.shape[1]
        of_one[rows, place[:, start:stop]] = top.scores.numpy()
        start = stop
    return names[:, :-1], scores[:, :, :-1]


def meta_features(scores: Scores, counts: NDArray[np.int64]) -> Scores:
    """What the regression knows of each candidate, [`num_features`, B, C].

    The log-odds of a fixed mixture of the rankings come first, and the square of the log of the label's training
    documents; then, as they are and times that log: 1, and of each ranking the log-odds, the probability, and its share
    of the document's largest.

    scores: [R, B, C], from 0 to 1, of network, tree, centroids and maybe others. counts: [B, C], 0 of labels that are
    not of them: none of the others' features depends on these.
    """
    frequency = np.log(np.maximum(counts, 1).astype(np.float32)) * _PER_LOG_COUNT - 1
    rankings = len(scores)
    features = np.empty((num_features(rankings), *counts.shape), np.float32)
    features[0] = _log_odds((MIXTURE[:, None, None] * scores[: len(MIXTURE)]).sum(axis=0))
    features[1] = frequency * frequency
    plain, weighted = np.split(features[2:], 2)
    plain[0] = 1
    log_odds, probabilities, shares = plain[1:].reshape(3, rankings, *counts.shape)
    log_odds[:] = _log_odds(scores) * _PER_LOG_ODDS
    probabilities[:] = scores
    shares[:] = scores / scores.max(axis=2, keepdims=True, where=counts > 0, initial=1e-9)
    np.multiply(plain, frequency, out=weighted)
    return features


def _log_odds(probability: Scores) -> Scores:
    inside = np.clip(probability, 0, 1) * (1 - 2 * _LOWEST) + _LOWEST
    return np.log(inside / (1 - inside))
