"""Several rankings of the same documents made one, by a logistic regression on what they say of a label.

Stacking (Wolpert 1992, "Stacked generalization"): how much a ranking is worth depends on how sure it is, how far the
label is behind its best, and how many documents the label has.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from xmc.types import TopK

MIXTURE = (0.5, 0.4, 0.1)  # of network, tree and centroids: what is known before any dev document
_LOWEST = 1e-4  # probability that a label has in a ranking without it
_PER_LOG_COUNT = 0.2
NUM_FEATURES = 2 * (1 + 3 * len(MIXTURE)) + 2
PRIOR = torch.eye(NUM_FEATURES)[0]  # the mixture as it is


def candidates(rankings: Sequence[TopK]) -> tuple[Tensor, list[Tensor]]:
    """The labels of all rankings, int64 [B, C], each once and ascending, -1 behind them; and their scores in each
    ranking, float32 [B, C], 0 where it has not got them."""
    labels = torch.cat([top.labels for top in rankings], dim=1)
    ascending, order = labels.sort(dim=1, stable=True, descending=False)
    new = torch.ones_like(labels, dtype=torch.bool)
    new[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    new &= ascending >= 0
    place_sorted = (new.cumsum(1) - 1).clamp_min(0)
    place = torch.empty_like(order).scatter_(1, order, place_sorted)
    names = torch.full_like(labels, -1).scatter_reduce_(1, place, labels, "amax")
    starts = [0, *torch.tensor([top.labels.shape[1] for top in rankings]).cumsum(0).tolist()]
    scores = []
    for top, start, stop in zip(rankings, starts, starts[1:], strict=False):
        own = top.scores.float().masked_fill(top.labels < 0, 0)
        scores.append(torch.zeros(labels.shape).scatter_reduce_(1, place[:, start:stop], own, "amax"))
    return names, scores


def meta_features(scores: Sequence[Tensor], counts_BC: Tensor) -> Iterator[Tensor]:
    """What the regression knows of each candidate, `NUM_FEATURES` of [B, C].

    The log-odds of a fixed mixture of the rankings come first; then, once as it is and once times the log of the
    label's training documents: 1, and of each ranking the log-odds, the probability, and its share of the document's
    largest. scores: from 0 to 1, of network, tree and centroids. counts_BC: training documents of the labels.
    """
    frequency = counts_BC.clamp_min(1).log() * _PER_LOG_COUNT - 1
    yield _log_odds(sum((weight * of_one for weight, of_one in zip(MIXTURE, scores, strict=True)), torch.zeros(())))
    yield frequency.square()
    for feature in (torch.ones_like(frequency), *(x for of_one in scores for x in _of_ranking(of_one))):
        yield feature
        yield feature * frequency


def _of_ranking(scores: Tensor) -> Iterator[Tensor]:
    yield _log_odds(scores) * 0.2
    yield scores
    yield scores / scores.amax(dim=1, keepdim=True).clamp_min(1e-9)


def _log_odds(probability: Tensor) -> Tensor:
    return torch.logit(probability.clamp(0, 1) * (1 - 2 * _LOWEST) + _LOWEST)
