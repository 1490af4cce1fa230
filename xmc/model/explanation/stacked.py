"""What each of the stacked rankings has in a label's log-odds: the difference from an empty document, divided."""

from collections.abc import Sequence
from math import factorial

import numpy as np
from numpy.typing import NDArray

from xmc.model.explanation.ranking import Floats, Said
from xmc.model.lexical import LexicalHalf, candidates
from xmc.types import TopK


def stacked(
    half: LexicalHalf, said: Sequence[Said], rankings: Sequence[TopK], labels: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Log-odds [n], as `LexicalHalf.stack` has them, and the share of each ranking in their rise, [rankings, n].

    rankings: of the document, [1, k] each. As there, a ranking that lacks a label gives it 0, and so has no share; of a
    label that all lack, their own scores count. The best scores of all other labels stay as they are.
    """
    names, found = candidates(rankings)
    listed = names[0] == labels[:, None]  # [n, C]
    here, empty = (np.stack([getattr(one, scores) for one in said]) for scores in ("scores", "empty"))
    of_lists = np.where(listed, found, 0).sum(axis=2)  # [rankings, n]
    here = np.where(listed.any(axis=1), of_lists, here)
    empty = np.where(here > 0, empty, 0)
    others = np.where(listed | (half.counts_of(names) == 0), 0, found).max(axis=2)
    counts = np.stack(
        [half.counts_of(labels), np.ones_like(labels)], axis=1
    )  # of a label and of the best of the others

    def log_odds(present: NDArray[np.bool_]) -> Floats:
        """[coalitions, n]"""
        own = np.where(present.T[:, :, None], here[:, None], empty[:, None])
        both = np.stack(np.broadcast_arrays(own, others[:, None]), axis=-1).astype(np.float32)
        shape = both.shape[1:]
        logits = half.log_odds(both.reshape(len(said), -1, 2), np.broadcast_to(counts, shape).reshape(-1, 2))
        return logits.reshape(shape)[..., 0].astype(np.float64)

    values = log_odds(coalitions(len(said)))
    return values[-1], shapley_values(values)


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
