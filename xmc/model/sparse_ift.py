"""Sparse-IFT: a larger sparse layer in the place of a dense one, at equal multiply-adds.

Families of "Sparse Iso-FLOP Transformations" (ICML 2024, arXiv 2303.11525, section 3.2) of a layer act(W z), W of
O x I, at sparsity s. Sizes are rounded so that the multiply-adds differ as little as they can.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from xmc.errors import XMCError
from xmc.model.sparse_linear import SparseLinear

Family = Literal["wide", "parallel", "factorized", "doped"]
IndexOf = Callable[[int, int, int], Tensor]  # outputs, fan-in, inputs -> the first connections, [O, K]


@dataclass(frozen=True, slots=True)
class SparseIFT:
    """Which transformation, and the share of connections that its sparse layers lack."""

    kind: Family
    sparsity: float


class Wide(nn.Module):
    """act(S z), S of O / (1 - s) x I: the layer's other side, a sparse classifier, costs nothing more."""

    def __init__(
        self, in_features: int, out_features: int, sparsity: float, activation: nn.Module, index_of: IndexOf
    ) -> None:
        super().__init__()
        self.out_features, fan_in = wide_sizes(in_features, out_features, sparsity)
        self.sparse = SparseLinear(in_features, index_of(self.out_features, fan_in, in_features))
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        return self.activation(self.sparse(inputs))


class Parallel(nn.Module):
    """Sum over 1 / (1 - s) branches of act(S_j z)."""

    def __init__(
        self, in_features: int, out_features: int, sparsity: float, activation: nn.Module, index_of: IndexOf
    ) -> None:
        super().__init__()
        self.out_features = out_features
        many = round(1 / (1 - sparsity))
        if many > in_features or not math.isclose(many * (1 - sparsity), 1):
            raise XMCError(
                f"sparse_ift=parallel has 1 / (1 - sparsity) branches, which is no whole number for {sparsity}; "
                "take sparse_ift.sparsity=0.5, 0.75, 0.8, 0.875 or 0.9"
            )
        fan_ins = [in_features * (j + 1) // many - in_features * j // many for j in range(many)]
        self.branches = nn.ModuleList(
            SparseLinear(in_features, index_of(out_features, fan_in, in_features)) for fan_in in fan_ins
        )
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([self.activation(branch(inputs)) for branch in self.branches]).sum(0)


class Factorized(nn.Module):
    """V act(U z), both sparse, with I O / ((I + O) (1 - s)) features between them."""

    def __init__(
        self, in_features: int, out_features: int, sparsity: float, activation: nn.Module, index_of: IndexOf
    ) -> None:
        super().__init__()
        self.out_features = out_features
        budget = in_features * out_features
        inner = budget / ((in_features + out_features) * (1 - sparsity))
        width, first, second = two_sparse_sizes(in_features, inner, out_features, sparsity, budget)
        self.first = SparseLinear(in_features, index_of(width, first, in_features))
        self.second = SparseLinear(width, index_of(out_features, second, width))
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.activation(self.first(inputs)))


class Doped(nn.Module):
    """V U z + act(S z): a dense part of rank s I O / (I + O) beside a sparse one of the layer's own size."""

    def __init__(
        self, in_features: int, out_features: int, sparsity: float, activation: nn.Module, index_of: IndexOf
    ) -> None:
        super().__init__()
        self.out_features = out_features
        rank, fan_in = doped_sizes(in_features, out_features, sparsity)
        self.down = nn.Linear(in_features, rank, bias=False) if rank else None
        self.up = nn.Linear(rank, out_features, bias=False) if rank else None
        self.sparse = SparseLinear(in_features, index_of(out_features, fan_in, in_features))
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.activation(self.sparse(inputs))
        return outputs if self.up is None or self.down is None else outputs + self.up(self.down(inputs))


FAMILIES: dict[Family, type[Wide | Parallel | Factorized | Doped]] = {
    "wide": Wide,
    "parallel": Parallel,
    "factorized": Factorized,
    "doped": Doped,
}


def no_connections(outputs: int, fan_in: int, inputs: int) -> Tensor:
    """The shape of an index whose columns are yet to be loaded."""
    return torch.zeros(outputs, fan_in, dtype=torch.int64)


def wide_sizes(in_features: int, out_features: int, sparsity: float) -> tuple[int, int]:
    """Width and fan-in."""
    wanted, budget = _kept(in_features, sparsity), in_features * out_features
    sizes = []
    for fan_in in range(max(1, wanted - 8), min(in_features, wanted + 8) + 1):
        width = round(budget / fan_in)
        sizes.append((abs(width * fan_in - budget), abs(fan_in - wanted), (width, fan_in)))
    return min(sizes)[-1]


def two_sparse_sizes(
    in_features: int, inner: float, out_features: int, sparsity: float, budget: int
) -> tuple[int, int, int]:
    """Width between two sparse layers, close to `inner`, and their fan-ins, for `budget` multiply-adds."""
    first = _kept(in_features, sparsity)
    sizes = []
    for width in range(max(1, round(inner) - 16), round(inner) + 17):
        second = min(width, max(1, round((budget - width * first) / out_features)))
        error = abs(width * first + out_features * second - budget)
        sizes.append((error, abs(width - inner), (width, first, second)))
    return min(sizes)[-1]


def doped_sizes(in_features: int, out_features: int, sparsity: float) -> tuple[int, int]:
    """Rank of the dense part and fan-in of the sparse one."""
    budget, both = in_features * out_features, in_features + out_features
    wanted = sparsity * budget / both
    sizes = []
    for rank in range(max(0, round(wanted) - 16), round(wanted) + 17):
        fan_in = min(in_features, max(1, round((budget - rank * both) / out_features)))
        error = abs(rank * both + out_features * fan_in - budget)
        sizes.append((error, abs(rank - wanted), (rank, fan_in)))
    return min(sizes)[-1]


def sparsify_feed_forward_(
    backbone: nn.Module, transformation: SparseIFT, index_of: IndexOf, *, keep: bool = True
) -> None:
    """Transform the feed-forward blocks of a Hugging Face model in place; what it learned is kept as far as it fits.

    A block is V act(U z) already, so its wide, parallel and factorised forms are one and the same: an inner width of
    f / (1 - s), both matrices sparse. Each old inner feature keeps its largest connections, the new ones start with
    none that lead on. Doped: each matrix becomes its largest entries and the best low-rank approximation of the rest.
    At sparsity 0 the block stays what it was. keep: False leaves all to be loaded.

    Raises:
        XMCError: the model has no feed-forward blocks made of two linear layers.
    """
    config = backbone.config
    hidden, inner = getattr(config, "hidden_size", None), getattr(config, "intermediate_size", None)
    shapes = [(hidden, inner), (inner, hidden)]
    places = [
        (parent, name, layer)
        for parent in list(backbone.modules())
        for name, layer in parent.named_children()
        if isinstance(layer, nn.Linear) and (layer.in_features, layer.out_features) in shapes
    ]
    into = sum(layer.in_features == hidden for _, _, layer in places)
    if hidden == inner or not into or into != len(places) - into:
        raise XMCError(
            f"sparse_ift finds no feed-forward blocks of {hidden} and {inner} features in {type(backbone).__name__}; "
            "it knows models built like BERT; set sparse_ift.layers=[intermediate], or sparse_ift=none"
        )
    for parent, name, layer in places:
        if transformation.kind == "doped":
            setattr(parent, name, _doped(layer, transformation.sparsity, keep))
        else:
            setattr(parent, name, _widened(layer, layer.in_features == hidden, transformation.sparsity, index_of, keep))


def _widened(layer: nn.Linear, widens: bool, sparsity: float, index_of: IndexOf, keep: bool) -> SparseLinear:
    """One matrix of a block: that to the inner features, or that from them."""
    inner, hidden = (layer.out_features, layer.in_features) if widens else (layer.in_features, layer.out_features)
    width, first, second = two_sparse_sizes(hidden, inner / (1 - sparsity), hidden, sparsity, 2 * inner * hidden)
    outputs, fan_in, inputs = (width, first, hidden) if widens else (hidden, second, width)
    sparse = SparseLinear(inputs, no_connections(outputs, fan_in, inputs), dense_fan_in=layer.in_features)
    if keep:
        _keep_largest_(sparse, layer)
        if new := outputs - layer.out_features:
            sparse.index[layer.out_features :] = index_of(new, fan_in, inputs).to(sparse.index.dtype)
    return sparse


def _doped(layer: nn.Linear, sparsity: float, keep: bool) -> Doped:
    doped = Doped(layer.in_features, layer.out_features, sparsity, nn.Identity(), no_connections)
    if keep:
        _keep_largest_(doped.sparse, layer)
        if doped.up is not None and doped.down is not None:
            rest = layer.weight.detach().double().scatter(1, doped.sparse.index.long(), 0.0)
            left, values, right = torch.linalg.svd(rest, full_matrices=False)
            root, rank = values.sqrt(), doped.down.out_features
            with torch.no_grad():
                doped.up.weight.copy_(left[:, :rank] * root[:rank])
                doped.down.weight.copy_(root[:rank, None] * right[:rank])
    return doped


@torch.no_grad()
def _keep_largest_(sparse: SparseLinear, dense: nn.Linear) -> None:
    """Take over the largest entries of each row; further slots lead from inputs the dense layer lacks, weight 0."""
    rows, fan_in = dense.out_features, min(dense.in_features, sparse.index.shape[1])
    columns = dense.weight.abs().topk(fan_in, dim=1).indices.sort(dim=1).values
    sparse.index[:rows, :fan_in] = columns.to(sparse.index.dtype)
    sparse.weight[:rows, :fan_in] = dense.weight.gather(1, columns)
    spare = sparse.index.shape[1] - fan_in
    sparse.index[:rows, fan_in:] = torch.arange(dense.in_features, dense.in_features + spare)
    sparse.weight[:rows, fan_in:] = 0
    if dense.bias is not None:
        sparse.bias[:rows] = dense.bias


def _kept(in_features: int, sparsity: float) -> int:
    return max(1, round(in_features * (1 - sparsity)))
