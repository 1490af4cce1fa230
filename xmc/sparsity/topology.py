"""The connections of a fixed fan-in layer: draw, drop and grow, as functions of tensors.

A row of `index` [G, K] never repeats a column: a repeated one is a connection wasted for good. Where a group of labels
shares a row, a connection is dropped or grown for all of them; its magnitude is their mean. All work is done in blocks
of groups, and no memory is of the size of L x D.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from xmc.ops.counter_rng import random_integers
from xmc.ops.fan_in import index_dtype
from xmc.types import group_size

_BLOCK = 1 << 14
# The step of the draws before training; steps of training count from 0.
_INITIAL = -1


def init_index(n_groups: int, fan_in: int, in_features: int, seed: int, *, offset: int = 0) -> Tensor:
    """K distinct columns of D for each label or group, every subset equally likely, [G, K] in `index_dtype(D)`.

    offset: global number of the first row; a shard gets the rows that it would have in the whole.

    Raises:
        ValueError: K is not in [1, D].
    """
    if not 1 <= fan_in <= in_features:
        raise ValueError(f"fan_in: expected an integer in [1, {in_features}], got {fan_in}")
    index = torch.empty(n_groups, fan_in, dtype=index_dtype(in_features))
    for rows in index.split(_BLOCK):
        numbers = torch.arange(offset, offset + len(rows))
        rows.copy_(_sample(in_features, torch.full_like(numbers, fan_in), fan_in, seed, _INITIAL, numbers))
        offset += len(rows)
    return index


def absent_columns(index: Tensor, many: int, in_features: int, *, seed: int, step: int, offset: int = 0) -> Tensor:
    """`many` distinct columns that each row lacks, every subset equally likely, [G, many] in the type of the index."""
    columns = torch.empty(len(index), many, dtype=index.dtype, device=index.device)
    for s, _ in _blocks(len(index), len(index), 1):
        numbers = torch.arange(s.start, s.stop, device=index.device) + offset
        counts = torch.full_like(numbers, many)
        columns[s] = _sample_absent(index[s], counts, many, in_features, seed, step, numbers)
    return columns


def fraction_to_drop(index: Tensor, fraction: float) -> Tensor:
    """The same number of connections for each row of the index, `fraction` of K rounded, int64 [G]."""
    return torch.full((len(index),), round(fraction * index.shape[1]), device=index.device)


def below_threshold(weight: Tensor, index: Tensor, threshold: float) -> Tensor:
    """How many connections of each row of the index are smaller in magnitude than `threshold`, int64 [G]."""
    size = group_size(len(weight), len(index))
    blocks = _blocks(len(weight), len(index), size)
    return torch.cat([(_magnitude(weight[labels], size) < threshold).sum(1) for _, labels in blocks])


class Growth(Protocol):
    """Chooses where a run of rows grows."""

    def __call__(self, groups: slice, dropped: Tensor, counts: Tensor, most: int) -> Tensor:
        """Columns [g, most], int64: distinct in each row and not among those it keeps.

        groups: rows of the index. dropped: bool [g, K], the connections that go. counts: int64 [g], how many of a
        row's columns are used, from the first on.
        """
        ...


def random_growth(index: Tensor, in_features: int, *, seed: int, step: int, offset: int = 0) -> Growth:
    """Columns that a row does not have yet, every subset equally likely. offset: global number of the first row."""

    def grow(groups: slice, dropped: Tensor, counts: Tensor, most: int) -> Tensor:
        numbers = torch.arange(groups.start, groups.stop, device=index.device) + offset
        return _sample_absent(index[groups], counts, most, in_features, seed, step, numbers)

    return grow


@torch.no_grad()
def rewire_(
    weight: Tensor, index: Tensor, counts: Tensor, in_features: int, growth: Growth, scores: Tensor | None = None
) -> tuple[Tensor, int]:
    """Put the `counts` smallest connections of each row where `growth` says, with weight 0.

    weight: [L, K], index: [G, K], changed in place; a connection that stays keeps its slot and its bits. counts: int64
    [G]. scores: [L, K], of which connections are small; None: their weights. A row has D - K columns to grow on, so it
    drops no more than that: the largest of those meant to go stay. Of equal magnitudes the earlier slot goes first.

    Returns the slots of the weight that hold a new connection, bool [L, K], and the number of connections moved.
    """
    scores = weight if scores is None else scores
    n_groups, fan_in = index.shape
    size = group_size(len(weight), n_groups)
    counts = counts.clamp(max=in_features - fan_in)
    moved = torch.zeros_like(weight, dtype=torch.bool)
    most = int(counts.max())
    if most == 0:
        return moved, 0
    for s, labels in _blocks(len(weight), n_groups, size):
        slots = _magnitude(scores[labels], size).argsort(dim=1, stable=True)[:, :most]
        chosen = torch.arange(most, device=weight.device) < counts[s, None]
        block_moved = torch.zeros_like(index[s], dtype=torch.bool).scatter_(1, slots, chosen)
        columns = growth(s, block_moved, counts[s], most)
        moved[labels] = block_moved.repeat_interleave(size, 0)[: labels.stop - labels.start]
        kept = index[s].gather(1, slots)
        index[s] = index[s].scatter_(1, slots, torch.where(chosen, columns.to(index.dtype), kept))
    weight.masked_fill_(moved, 0)
    return moved, int(counts.sum())


def _blocks(n_labels: int, n_groups: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Runs of groups, each with the run of its labels."""
    step = max(1, _BLOCK // size)
    for start in range(0, n_groups, step):
        stop = min(start + step, n_groups)
        yield slice(start, stop), slice(start * size, min(stop * size, n_labels))


def by_group(values: Tensor, size: int) -> Tensor:
    """Sum of the rows of each group, [g, ...] of [l, ...]; the last group may be smaller than `size`."""
    if size == 1:
        return values
    return F.pad(values.float(), (0, 0, 0, -len(values) % size)).view(-1, size, values.shape[1]).sum(1)


def _magnitude(weight: Tensor, size: int) -> Tensor:
    """Mean magnitude of the connections of each group, [g, K]."""
    sums = by_group(weight.abs(), size)
    if size == 1:
        return sums
    sums[-1] *= size / (size - -len(weight) % size)
    return sums / size


def _sample_absent(
    index: Tensor, counts: Tensor, most: int, in_features: int, seed: int, step: int, rows: Tensor
) -> Tensor:
    """For each row its `counts` distinct columns that `index` [l, K] lacks, int64 [l, most]; the rest is undefined.

    Draws ranks among the D - K absent columns. With the present columns c sorted, c[i] - i of the absent ones lie
    before c[i], so the absent column of rank r is r plus the number of i with c[i] - i <= r.
    """
    fan_in = index.shape[1]
    ranks = _sample(in_features - fan_in, counts, most, seed, step, rows)
    absent_before = index.long().sort(dim=1).values - torch.arange(fan_in, device=index.device)
    return ranks + torch.searchsorted(absent_before, ranks, right=True)


def _sample(population: int, counts: Tensor, most: int, seed: int, step: int, rows: Tensor) -> Tensor:
    """For each row a subset of `counts` integers below `population`, all equally likely, int64 [l, most]; then -1.

    Floyd's algorithm (Bentley and Floyd, CACM 30(9), 1987): for j from population - count on, draw from [0, j]; if
    that is taken already, take j.
    """
    drawn = torch.full((most, len(rows)), -1, device=rows.device)
    for i in range(most):
        last = population - counts + i
        pick = random_integers(last.clamp(min=0) + 1, seed, step, rows, i)
        pick = torch.where((drawn[:i] == pick).any(0), last, pick)
        drawn[i] = pick.where(counts > i, -1)
    return drawn.T.contiguous()
