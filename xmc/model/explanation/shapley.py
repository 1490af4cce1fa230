"""How a score that several have made is divided among them."""

from math import factorial

import numpy as np
from numpy.typing import NDArray

from xmc.model.explanation.ranking import Floats


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
