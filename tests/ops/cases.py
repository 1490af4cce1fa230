"""Random problems for the ops, and the naive dense formula they are held against."""

import torch
from torch import Tensor

from xmc.ops.fan_in import index_dtype
from xmc.types import LossName, Positives


def make_positives(rows: list[list[int]]) -> Positives:
    counts = torch.tensor([0] + [len(row) for row in rows])
    labels = [label for row in rows for label in sorted(row)]
    return Positives(counts.cumsum(0), torch.tensor(labels, dtype=torch.int64))


def random_positives(documents: int, n_labels: int, density: float, generator: torch.Generator) -> Positives:
    hits = torch.rand(documents, n_labels, generator=generator) < density
    return make_positives([row.nonzero().squeeze(1).tolist() for row in hits])


def random_layer(
    documents: int, n_labels: int, in_features: int, fan_in: int, seed: int, *, duplicates: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, torch.Generator]:
    """Features, weight, index, bias in float64, and the generator to go on with."""
    generator = torch.Generator().manual_seed(seed)
    if duplicates:
        index = torch.randint(in_features, (n_labels, fan_in), generator=generator)
    else:
        index = torch.rand(n_labels, in_features, generator=generator).argsort(1)[:, :fan_in]
    features = torch.randn(documents, in_features, generator=generator, dtype=torch.float64)
    weight = torch.randn(n_labels, fan_in, generator=generator, dtype=torch.float64)
    bias = torch.randn(n_labels, generator=generator, dtype=torch.float64)
    return features, weight, index.to(index_dtype(in_features)).contiguous(), bias, generator


def naive_logits(features: Tensor, weight: Tensor, index: Tensor, bias: Tensor) -> Tensor:
    """[B, L] by gathering [B, L, K]: neither densified nor in blocks."""
    return (features[:, index.long()] * weight).sum(-1) + bias


def naive_loss(logits: Tensor, positives: Positives, loss: LossName) -> Tensor:
    targets = torch.zeros_like(logits)
    targets[positives.documents(), positives.labels] = 1
    if loss == "bce":
        total = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    else:
        total = (1 - (2 * targets - 1) * logits).clamp(min=0).square().sum()
    return total / len(logits)
