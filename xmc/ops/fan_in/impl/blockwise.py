"""Stock PyTorch operators in cache-sized buffers, for CPUs and CUDA.

A block of labels takes one of two forms, whichever costs less:

- gathered: connections stay sparse. The logits are an embedding bag over the transposed features, the weight gradient a
  sampled product, and the feature gradient an embedding bag over the block's connections sorted by column. 6 B l K
  FLOPs and sums in an order that does not depend on the number of threads. CPU only.
- densified: the block is scattered into a reused [l, D] buffer and multiplied. 6 B l D FLOPs, but cheap ones, which is
  what a GPU wants, and a CPU whose K is no small part of D.

Inside, everything is label-major: logits are [l, B].
"""

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from xmc.ops.blocks import label_blocks, label_slices
from xmc.ops.counter_rng import rounded
from xmc.ops.fan_in.backend import Backend, update_
from xmc.ops.losses import loss_and_gradient_, wide
from xmc.ops.topk import StreamingTopK
from xmc.types import FanIn, InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")

# Bytes of a block's working set, by form; flat optima on a CPU with 1 MiB L2 a core and 32 MiB L3, a guess for GPUs.
_GATHERED_BYTES = 4 << 20
_DENSIFIED_BYTES = {"cpu": 4 << 20, "cuda": 32 << 20}
# One gathered connection costs about as much as this many densified columns.
_GATHER_COST = 4


class TorchBackend(Backend):
    def lacks(self, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
        return None if device.type in _DENSIFIED_BYTES else f"it is tuned for cpu and cuda, not for {device.type}"

    def linear(self, features: Tensor, layer: FanIn) -> Tensor:
        form = _form(features, layer)
        logits = torch.empty(len(features), len(layer), dtype=wide(features), device=features.device)
        for s in label_slices(len(layer), form.size):
            logits[:, s] = (form.logits(s) + layer.bias[s, None]).T
        return logits

    def linear_backward(self, gradient: Tensor, features: Tensor, layer: FanIn) -> tuple[Tensor, Tensor, Tensor]:
        form = _form(features, layer)
        grad_weight = torch.zeros_like(layer.weight)
        for s in label_slices(len(layer), form.size):
            form.backward(gradient[:, s].T.to(features.dtype).contiguous(), s, grad_weight[s])
        return form.grad_features(), grad_weight, gradient.sum(0).to(wide(layer.weight))

    def loss(self, features: Tensor, layer: FanIn, positives: Positives, loss: LossName) -> StepOutput:
        grad_weight, grad_bias = torch.zeros_like(layer.weight, dtype=wide(layer.weight)), torch.empty_like(layer.bias)

        def keep(s: slice, block_grad_weight: Tensor, block_grad_bias: Tensor) -> None:
            grad_weight[s], grad_bias[s] = block_grad_weight, block_grad_bias

        total, grad_features = _pass(features, layer, positives, loss, keep)
        return StepOutput(total, grad_features, grad_weight, grad_bias)

    def sgd_step(
        self,
        features: Tensor,
        layer: FanIn,
        positives: Positives,
        loss: LossName,
        update: InPlaceUpdate,
        applies: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        weight, lr, decay = layer.weight, update.lr, 1 - update.lr * update.weight_decay
        rounding = update.seed, update.step

        def step(s: slice, grad_weight: Tensor, grad_bias: Tensor) -> None:
            stepped = weight[s].to(grad_weight.dtype) * decay - lr * grad_weight
            update_(weight[s], rounded(stepped, weight.dtype, rounding, layer.label_offset + s.start), applies)
            update_(layer.bias[s], layer.bias[s].sub(grad_bias, alpha=lr), applies)

        return _pass(features, layer, positives, loss, step)

    def topk(self, features: Tensor, layer: FanIn, k: int) -> TopK:
        form, best = _form(features, layer), StreamingTopK(k)
        for s in label_slices(len(layer), form.size):
            best.add(form.logits(s).add_(layer.bias[s, None]).T, layer.label_offset + s.start)
        return best.result()


def _pass(
    features: Tensor,
    layer: FanIn,
    positives: Positives,
    loss: LossName,
    take: Callable[[slice, Tensor, Tensor], None],
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the features. `take` gets the gradients of weight and bias of each block of labels."""
    form, weight = _form(features, layer), layer.weight
    total = torch.zeros((), dtype=torch.float64, device=features.device)
    for block in label_blocks(positives, layer.label_offset, len(layer), form.size):
        s = block.labels
        logits = form.logits(s).add_(layer.bias[s, None])
        losses, gradient = loss_and_gradient_(logits, (block.label, block.document), loss)
        total += losses.sum(dtype=torch.float64)
        gradient.div_(len(features))
        grad_weight = torch.zeros_like(weight[s], dtype=wide(weight))
        form.backward(gradient.to(features.dtype), s, grad_weight)
        take(s, grad_weight, gradient.sum(1))
    return (total / len(features)).to(wide(features)), form.grad_features()


class _Form(Protocol):
    """Products of a block of labels `s` with the features of a batch. size: labels of a full block."""

    size: int

    def logits(self, s: slice) -> Tensor:
        """Weights times features [l, B] without the bias, a new tensor."""
        ...

    def backward(self, gradient: Tensor, s: slice, grad_weight: Tensor) -> None:
        """From the gradient [l, B] of the logits: fill grad_weight [l, K], which is zero, and add to the features'."""
        ...

    def grad_features(self) -> Tensor:
        """Sum over all blocks [B, D]."""
        ...


def _form(features: Tensor, layer: FanIn) -> _Form:
    gatherable = features.device.type == "cpu" and features.dtype in (torch.float32, torch.float64)
    cheaper = _GATHER_COST * layer.fan_in <= features.shape[1]
    if gatherable and features.dtype == layer.weight.dtype and cheaper:
        return _Gathered(features, layer)
    return _Densified(features, layer)


class _Gathered:
    def __init__(self, features: Tensor, layer: FanIn) -> None:
        # A row's working set: its logits and gradient, and for each connection a column, a weight and a 64-bit rank.
        row = features.element_size() * 2 * len(features) + 24 * layer.fan_in
        self.size = _block_size(_GATHERED_BYTES, len(layer), row)
        self._layer = layer
        self._table = features.T.contiguous()
        self._grad_table = torch.zeros_like(self._table)
        self._columns = torch.arange(len(self._table), dtype=layer.index.dtype)
        self._rows = torch.arange(self.size, dtype=torch.int32).repeat_interleave(layer.n_active)

    def logits(self, s: slice) -> Tensor:
        weight, columns = self._layer.active_connections(s)
        return F.embedding_bag(columns.int(), self._table, mode="sum", per_sample_weights=weight)

    def backward(self, gradient: Tensor, s: slice, grad_weight: Tensor) -> None:
        n_labels, fan_in = grad_weight.shape
        slots = torch.arange(0, n_labels * fan_in + 1, fan_in, dtype=torch.int32)
        columns = self._layer.columns(s).int().flatten()
        shape = (n_labels, len(self._table))
        sampled = torch.sparse_csr_tensor(slots, columns, grad_weight.view(-1), shape, check_invariants=False)
        torch.sparse.sampled_addmm(sampled, gradient, self._table.T, beta=0.0, out=sampled)
        self._add_grad_features(gradient, s)

    def _add_grad_features(self, gradient: Tensor, s: slice) -> None:
        """Sort the block's connections by column, then sum those of each column in order of their labels."""
        weight, unsorted = self._layer.active_connections(s)
        columns, order = unsorted.flatten().sort(stable=True)
        starts = torch.searchsorted(columns, self._columns, out_int32=True)
        self._grad_table += F.embedding_bag(
            self._rows.index_select(0, order),
            gradient,
            starts,
            mode="sum",
            per_sample_weights=weight.flatten().index_select(0, order),
        )

    def grad_features(self) -> Tensor:
        return self._grad_table.T.contiguous()


class _Densified:
    def __init__(self, features: Tensor, layer: FanIn) -> None:
        in_features = features.shape[1]
        row = features.element_size() * 2 * (in_features + len(features))
        self.size = _block_size(_DENSIFIED_BYTES[features.device.type], len(layer), row)
        self._features, self._layer = features, layer
        self._dense = features.new_empty(self.size, in_features)
        self._grad_dense = torch.empty_like(self._dense)
        self._held: slice | None = None
        self._grad_features = torch.zeros_like(features, dtype=wide(features))

    def _densify(self, s: slice) -> Tensor:
        dense = self._dense[: s.stop - s.start]
        if self._held != s:
            weight, columns = self._layer.active_connections(s)
            dense.zero_().scatter_add_(1, columns.long(), weight.to(dense.dtype))
            self._held = s
        return dense

    def logits(self, s: slice) -> Tensor:
        return (self._densify(s) @ self._features.T).to(wide(self._features))

    def backward(self, gradient: Tensor, s: slice, grad_weight: Tensor) -> None:
        grad_dense = torch.mm(gradient, self._features, out=self._grad_dense[: len(gradient)])
        grad_weight.copy_(grad_dense.gather(1, self._layer.columns(s).long()))
        self._grad_features += gradient.T @ self._densify(s)

    def grad_features(self) -> Tensor:
        return self._grad_features.to(self._features.dtype)


def _block_size(budget: int, n_labels: int, row_bytes: int) -> int:
    return min(n_labels, max(64, budget // row_bytes))
