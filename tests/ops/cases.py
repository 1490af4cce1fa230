"""Random problems for the ops, and the naive dense formula they are held against."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xmc.ops.fan_in import BACKENDS, FanIn, index_dtype, resolve_backend
from xmc.types import Positives
from xmc.values import LossName


class Largest(TorchDispatchMode):
    """Records the elements of the largest tensor that any operator gives back, those of `aside` elements left out."""

    def __init__(self, aside: int = 0) -> None:
        super().__init__()
        self.elements = 0
        self._aside = aside

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and tensor.numel() != self._aside:
                self.elements = max(self.elements, tensor.numel())
        return out


def dtype_of(backend: str) -> torch.dtype:
    """The most precise type a back end serves."""
    return torch.float32 if backend in ("numba", "triton") else torch.float64


def tolerance_of(backend: str) -> float:
    return 1e-5 if dtype_of(backend) == torch.float32 else 1e-12


def _serves_here(backend: str) -> bool:
    try:
        resolve_backend("cpu", dtype_of(backend), backend)
    except ValueError:
        return False
    return True


# All but triton, which the tests of its own run through its interpreter.
SERVING = [backend for backend in BACKENDS if _serves_here(backend)]


def make_positives(rows: list[list[int]]) -> Positives:
    counts = torch.tensor([0] + [len(row) for row in rows])
    labels = [label for row in rows for label in sorted(row)]
    return Positives(counts.cumsum(0), torch.tensor(labels, dtype=torch.int64))


def random_positives(documents: int, n_labels: int, density: float, generator: torch.Generator) -> Positives:
    hits = torch.rand(documents, n_labels, generator=generator) < density
    return make_positives([row.nonzero().squeeze(1).tolist() for row in hits])


def random_layer(
    documents: int,
    n_labels: int,
    in_features: int,
    fan_in: int,
    seed: int,
    *,
    duplicates: bool = False,
    group_size: int = 1,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, FanIn, torch.Generator]:
    """Features and a layer, and the generator to go on with."""
    generator = torch.Generator().manual_seed(seed)
    n_groups = -(-n_labels // group_size)
    if duplicates:
        index = torch.randint(in_features, (n_groups, fan_in), generator=generator)
    else:
        index = torch.rand(n_groups, in_features, generator=generator).argsort(1)[:, :fan_in]
    features = torch.randn(documents, in_features, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(n_labels, fan_in, generator=generator, dtype=torch.float64).to(dtype)
    bias = torch.randn(n_labels, generator=generator, dtype=torch.float64).to(dtype)
    return features, FanIn(weight, index.to(index_dtype(in_features)).contiguous(), bias), generator


def naive_logits(features: Tensor, layer: FanIn) -> Tensor:
    """[B, L] by gathering [B, L, K]: neither densified nor in blocks."""
    columns = layer.columns(slice(0, len(layer))).long()
    return (features[:, columns] * layer.weight).sum(-1) + layer.bias


def naive_loss(logits: Tensor, positives: Positives, loss: LossName) -> Tensor:
    targets = torch.zeros_like(logits)
    targets[positives.documents(), positives.labels] = 1
    if loss == "bce":
        total = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    else:
        total = (1 - (2 * targets - 1) * logits).clamp(min=0).square().sum()
    return total / len(logits)
