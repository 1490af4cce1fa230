"""Growth where the gradient of the loss is largest in magnitude."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xmc.model.evidence import Evidence
from xmc.ops.blocks import label_slices
from xmc.sparsity.strategy import SparseLayer
from xmc.sparsity.topology import Growth, by_group
from xmc.types import group_size

_BLOCK = 1 << 22  # numbers of a dense gradient that exist at once


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
