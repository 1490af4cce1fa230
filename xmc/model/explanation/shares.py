"""What several rankings say of a label, and how the score that they make together is divided among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from xmc.model.lexical import LexicalHalf, candidates
from xmc.types import TopK

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Said:
    """By one ranking, of n labels and a document of T tokens.

    scores, empty: [n], what it gives them here, and where no word is known. weights: [T, n], what each token adds on
    the way from the one to the other, on the scale on which it is linear.
    """

    scores: Floats
    empty: Floats
    weights: Floats

    def adding_up_to(self, totals: Floats) -> Floats:
        """The weights, multiplied by one number a label so that they have these sums, [n]."""
        sums = self.weights.sum(axis=0)
        return self.weights * np.divide(totals, sums, out=np.zeros_like(sums), where=np.abs(sums) > 1e-9)


def stacked(
    half: LexicalHalf, said: Sequence[Said], rankings: Sequence[TopK], labels: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Log-odds [n], as `LexicalHalf.stack` has them, and the share of each ranking in their rise, [rankings, n].

    rankings: of the document, [1, k] each. As there, a ranking that lacks a label gives it 0, and so has no share; of a
    label that all lack, their own scores count. The best scores of all other labels stay as they are.
    """
    of_lists, listed = listed_scores(rankings, labels)
    here, empty = (np.stack([getattr(one, scores) for one in said]) for scores in ("scores", "empty"))
    here = np.where(listed, of_lists, here)
    empty = np.where(here > 0, empty, 0)
    names, found = candidates(rankings)
    others = (names != labels[:, None]) & (half.counts_of(names) > 0)
    best = np.where(others, found, 0).max(axis=2)
    counts = np.stack([half.counts_of(labels), np.ones_like(labels)], axis=1)

    def log_odds(present: NDArray[np.bool_]) -> Floats:
        """[coalitions, n], each label beside the best of the others."""
        own = np.where(present.T[:, :, None], here[:, None], empty[:, None])
        both = np.stack(np.broadcast_arrays(own, best[:, None]), axis=-1).astype(np.float32)
        shape = both.shape[1:]
        logits = half.log_odds(both.reshape(len(said), -1, 2), np.broadcast_to(counts, shape).reshape(-1, 2))
        return logits.reshape(shape)[..., 0].astype(np.float64)

    values = log_odds(coalitions(len(said)))
    return values[-1], shapley_values(values)


def listed_scores(rankings: Sequence[TopK], labels: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """What each ranking of one document, [1, k], gives the labels, 0 where it lacks one, [rankings, n]; and whether any
    has a label, [n]."""
    there = [top.labels.numpy() == labels[:, None] for top in rankings]
    scores = [np.where(one, top.scores.numpy(), 0).sum(axis=1) for one, top in zip(there, rankings, strict=True)]
    return np.stack(scores), np.any([one.any(axis=1) for one in there], axis=0)


def coalitions(players: int) -> NDArray[np.bool_]:
    """Who takes part in each, [2^players, players]; nobody in the first, all in the last."""
    return (np.arange(1 << players)[:, None] >> np.arange(players) & 1).astype(bool)


def shapley_values(values: Floats) -> Floats:
    """What each player adds, on average over all orders in which they may come, [players, n].

    values: of `coalitions`, [2^players, n]. The players' add up to that of all less that of nobody (Shapley 1953).
    """
    players = len(values).bit_length() - 1
    present, numbers = coalitions(players), np.arange(len(values))
    sizes = present.sum(axis=1)
    orders = np.array([factorial(size) * factorial(players - 1 - size) for size in range(players)]) / factorial(players)
    absent = [numbers[~of_player] for of_player in present.T]
    return np.stack([orders[sizes[n]] @ (values[n | 1 << player] - values[n]) for player, n in enumerate(absent)])
