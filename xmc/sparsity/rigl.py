"""RigL: drop the smallest connections, grow those whose absence the loss regrets most."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor

from xmc.model.evidence import Evidence
from xmc.ops.blocks import group_size, label_slices
from xmc.sparsity.strategy import DropAndGrow, SparseLayer
from xmc.sparsity.topology import Growth, absent_columns, by_group

_BLOCK = 1 << 22  # numbers of a dense gradient that exist at once


@dataclass(eq=False)
class RigL(DropAndGrow):
    """RigL (Evci et al., ICML 2020), with the cheap variant of guided exploration (arXiv 2401.06898).

    Drops by magnitude, grows where the gradient is largest in magnitude. candidates: "all" absent columns, whose
    gradients are formed a block of labels at a time, or a "sample" of K.
    """

    _: KW_ONLY
    candidates: Literal["all", "sample"] = "all"
    batches: int = 1

    def grow(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> Growth:
        if self.candidates == "all":
            return gradient_growth(layer, seen)
        fan_in = layer.index.shape[1]
        many = min(fan_in, layer.in_features - fan_in)
        sample = absent_columns(layer.index, many, layer.in_features, seed=self.seed, step=step, offset=self.offset)
        return gradient_growth_among(layer, seen, sample)


def gradient_growth(layer: SparseLayer, seen: Sequence[Evidence]) -> Growth:
    """Columns at which the gradient over these batches is largest in magnitude, a block of labels at a time."""
    size = group_size(len(layer.weight), len(layer.index))
    block = max(1, _BLOCK // layer.in_features // size)

    def grow(groups: slice, dropped: Tensor, counts: Tensor, most: int) -> Tensor:
        columns = []
        for part in label_slices(groups.stop - groups.start, block):
            rows = slice(groups.start + part.start, groups.start + part.stop)
            labels = slice(rows.start * size, min(rows.stop * size, len(layer.weight)))
            total = sum(layer.dense_gradient(evidence, labels) for evidence in seen)
            scores = by_group(torch.as_tensor(total).abs(), size)
            present = layer.index[rows].long()
            kept = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, present, ~dropped[part])
            columns.append(scores.masked_fill_(kept, -1).topk(most, dim=1).indices)
        return torch.cat(columns)

    return grow


def gradient_growth_among(layer: SparseLayer, seen: Sequence[Evidence], columns_GC: Tensor) -> Growth:
    """The same among these absent columns of each row alone."""
    total = sum(layer.gradient_at(evidence, columns_GC) for evidence in seen)
    scores = by_group(torch.as_tensor(total).abs(), group_size(len(layer.weight), len(layer.index)))

    def grow(groups: slice, dropped: Tensor, counts: Tensor, most: int) -> Tensor:
        return columns_GC[groups].gather(1, scores[groups].topk(most, dim=1).indices).long()

    return grow
