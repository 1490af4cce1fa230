"""The connections of a fixed fan-in layer: draw, drop and grow, as functions of tensors.

A row of `index` [L, K] never repeats a column: a repeated one is a connection wasted for good. All work is done in
blocks of labels, and no memory is of the size of L x D.
"""

import torch
from torch import Tensor

from xmc.ops.fan_in import index_dtype
from xmc.sparsity.random import random_integers
from xmc.types import Rewire

_BLOCK = 1 << 14
# The step of the draws before training; steps of training count from 0.
_INITIAL = -1


def init_index(n_labels: int, fan_in: int, in_features: int, seed: int, *, label_offset: int = 0) -> Tensor:
    """K distinct columns of D for each label, every subset equally likely, [L, K] in `index_dtype(D)`.

    label_offset: global id of the first label; a shard gets the rows that it would have in the whole.

    Raises:
        ValueError: K is not in [1, D].
    """
    if not 1 <= fan_in <= in_features:
        raise ValueError(f"fan_in: expected an integer in [1, {in_features}], got {fan_in}")
    index = torch.empty(n_labels, fan_in, dtype=index_dtype(in_features))
    for rows in index.split(_BLOCK):
        labels = torch.arange(label_offset, label_offset + len(rows))
        rows.copy_(_sample(in_features, torch.full_like(labels, fan_in), fan_in, seed, _INITIAL, labels))
        label_offset += len(rows)
    return index


def fraction_to_drop(weight: Tensor, fraction: float) -> Tensor:
    """The same number of connections for each row, `fraction` of K rounded, int64 [L]."""
    return torch.full((len(weight),), round(fraction * weight.shape[1]), device=weight.device)


def below_threshold(weight: Tensor, threshold: float) -> Tensor:
    """How many connections of each row are smaller in magnitude than `threshold`, int64 [L]."""
    return (weight.abs() < threshold).sum(1)


@torch.no_grad()
def rewire_(
    weight: Tensor, index: Tensor, counts: Tensor, in_features: int, *, seed: int, step: int, label_offset: int = 0
) -> tuple[Tensor, Rewire]:
    """Put the `counts` smallest connections of each row on random columns that it does not have yet, with weight 0.

    weight, index: [L, K], changed in place; a connection that stays keeps its slot and its bits. counts: int64 [L].
    A row has D - K columns to grow on, so it drops no more than that: the largest of those meant to go stay. Of equal
    magnitudes the earlier slot goes first.

    Returns the slots that hold a new connection, bool [L, K], and their number.
    """
    n_labels, fan_in = weight.shape
    counts = counts.clamp(max=in_features - fan_in)
    moved = torch.zeros_like(weight, dtype=torch.bool)
    most = int(counts.max())
    if most == 0:
        return moved, Rewire(0, 0)
    for first in range(0, n_labels, _BLOCK):
        s = slice(first, min(first + _BLOCK, n_labels))
        labels = torch.arange(s.start, s.stop, device=weight.device) + label_offset
        columns = _sample_absent(index[s], counts[s], most, in_features, seed, step, labels)
        slots = weight[s].abs().argsort(dim=1, stable=True)[:, :most]
        chosen = torch.arange(most, device=weight.device) < counts[s, None]
        moved[s] = moved[s].scatter_(1, slots, chosen)
        kept = index[s].gather(1, slots)
        index[s] = index[s].scatter_(1, slots, torch.where(chosen, columns.to(index.dtype), kept))
    weight.masked_fill_(moved, 0)
    number = int(counts.sum())
    return moved, Rewire(number, number)


def _sample_absent(
    index: Tensor, counts: Tensor, most: int, in_features: int, seed: int, step: int, labels: Tensor
) -> Tensor:
    """For each row its `counts` distinct columns that `index` [l, K] lacks, int64 [l, most]; the rest is undefined.

    Draws ranks among the D - K absent columns. With the present columns c sorted, c[i] - i of the absent ones lie
    before c[i], so the absent column of rank r is r plus the number of i with c[i] - i <= r.
    """
    fan_in = index.shape[1]
    ranks = _sample(in_features - fan_in, counts, most, seed, step, labels)
    absent_before = index.long().sort(dim=1).values - torch.arange(fan_in, device=index.device)
    return ranks + torch.searchsorted(absent_before, ranks, right=True)


def _sample(population: int, counts: Tensor, most: int, seed: int, step: int, labels: Tensor) -> Tensor:
    """For each row a subset of `counts` integers below `population`, all equally likely, int64 [l, most]; then -1.

    Floyd's algorithm (Bentley and Floyd, CACM 30(9), 1987): for j from population - count on, draw from [0, j]; if
    that is taken already, take j.
    """
    drawn = torch.full((most, len(labels)), -1, device=labels.device)
    for i in range(most):
        last = population - counts + i
        pick = random_integers(last.clamp(min=0) + 1, seed, step, labels, i)
        pick = torch.where((drawn[:i] == pick).any(0), last, pick)
        drawn[i] = pick.where(counts > i, -1)
    return drawn.T.contiguous()
