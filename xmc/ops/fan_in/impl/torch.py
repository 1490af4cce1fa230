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

from xmc.ops.blocks import group_size, label_blocks, label_columns, label_slices
from xmc.ops.losses import loss_and_gradient_, wide
from xmc.ops.random import rounded
from xmc.ops.topk import StreamingTopK
from xmc.types import LossName, Positives, StepOutput, TopK

CHECKS_COLUMNS = False

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")

# Bytes of a block's working set, by form; flat optima on a CPU with 1 MiB L2 a core and 32 MiB L3, a guess for GPUs.
_GATHERED_BYTES = 4 << 20
_DENSIFIED_BYTES = {"cpu": 4 << 20, "cuda": 32 << 20}
# One gathered connection costs about as much as this many densified columns.
_GATHER_COST = 4


def lacks(device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
    """What is missing to serve features and weights of these types on this device, or None."""
    return None if device.type in _DENSIFIED_BYTES else f"it is tuned for cpu and cuda, not for {device.type}"


def linear(features: Tensor, weight: Tensor, index: Tensor, bias: Tensor) -> Tensor:
    """Logits [B, L], in the precision that losses use."""
    form = _form(features, weight, index, weight.shape[1])
    logits = torch.empty(len(features), len(weight), dtype=wide(features), device=features.device)
    for s in label_slices(len(weight), form.size):
        logits[:, s] = (form.logits(s) + bias[s, None]).T
    return logits


def linear_backward(gradient: Tensor, features: Tensor, weight: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of features, weight and bias from the gradient [B, L] of the logits."""
    form = _form(features, weight, index, weight.shape[1])
    grad_weight = torch.zeros_like(weight)
    for s in label_slices(len(weight), form.size):
        form.backward(gradient[:, s].T.to(features.dtype).contiguous(), s, grad_weight[s])
    return form.grad_features(), grad_weight, gradient.sum(0).to(wide(weight))


def loss(
    features: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor,
    positives: Positives,
    loss: LossName,
    label_offset: int,
    active: int,
) -> StepOutput:
    """Loss and gradients; see `xmc.ops.fan_in.fan_in_loss`."""
    grad_weight, grad_bias = torch.zeros_like(weight, dtype=wide(weight)), torch.empty_like(bias)

    def keep(s: slice, block_grad_weight: Tensor, block_grad_bias: Tensor) -> None:
        grad_weight[s], grad_bias[s] = block_grad_weight, block_grad_bias

    total, grad_features = _pass(features, weight, index, bias, positives, loss, label_offset, active, keep)
    return StepOutput(total, grad_features, grad_weight, grad_bias)


def sgd_step(
    features: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor,
    positives: Positives,
    loss: LossName,
    lr: float,
    weight_decay: float,
    label_offset: int,
    active: int,
    rounding: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the features; see `xmc.ops.fan_in.fan_in_sgd_step`."""

    def update(s: slice, grad_weight: Tensor, grad_bias: Tensor) -> None:
        stepped = weight[s].to(grad_weight.dtype) * (1 - lr * weight_decay) - lr * grad_weight
        weight[s] = rounded(stepped, weight.dtype, rounding, label_offset + s.start)
        bias[s].sub_(grad_bias, alpha=lr)

    return _pass(features, weight, index, bias, positives, loss, label_offset, active, update)


def _pass(
    features: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor,
    positives: Positives,
    loss: LossName,
    label_offset: int,
    active: int,
    take: Callable[[slice, Tensor, Tensor], None],
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the features. `take` gets the gradients of weight and bias of each block of labels."""
    form = _form(features, weight, index, active)
    total = torch.zeros((), dtype=torch.float64, device=features.device)
    for block in label_blocks(positives, label_offset, len(weight), form.size):
        s = block.labels
        logits = form.logits(s).add_(bias[s, None])
        losses, gradient = loss_and_gradient_(logits, (block.label, block.document), loss)
        total += losses.sum(dtype=torch.float64)
        gradient.div_(len(features))
        grad_weight = torch.zeros_like(weight[s], dtype=wide(weight))
        form.backward(gradient.to(features.dtype), s, grad_weight)
        take(s, grad_weight, gradient.sum(1))
    return (total / len(features)).to(wide(features)), form.grad_features()


def topk(features: Tensor, weight: Tensor, index: Tensor, bias: Tensor, k: int, label_offset: int, active: int) -> TopK:
    """The k best labels; see `xmc.ops.fan_in.fan_in_topk`."""
    form = _form(features, weight, index, active)
    best = StreamingTopK(k)
    for s in label_slices(len(weight), form.size):
        best.add(form.logits(s).add_(bias[s, None]).T, label_offset + s.start)
    return best.result()


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


def _form(features: Tensor, weight: Tensor, index: Tensor, active: int) -> _Form:
    gatherable = features.device.type == "cpu" and features.dtype in (torch.float32, torch.float64)
    cheaper = _GATHER_COST * weight.shape[1] <= features.shape[1]
    if gatherable and features.dtype == weight.dtype and cheaper:
        return _Gathered(features, weight, index, active)
    return _Densified(features, weight, index, active)


class _Gathered:
    def __init__(self, features: Tensor, weight: Tensor, index: Tensor, active: int) -> None:
        n_labels, fan_in = weight.shape
        # A row's working set: its logits and gradient, and for each connection a column, a weight and a 64-bit rank.
        self.size = _block_size(_GATHERED_BYTES, n_labels, features.element_size() * 2 * len(features) + 24 * fan_in)
        self._weight, self._index, self._active = weight, index, active
        self._group_size = group_size(n_labels, len(index))
        self._table = features.T.contiguous()
        self._grad_table = torch.zeros_like(self._table)
        self._columns = torch.arange(len(self._table), dtype=index.dtype)
        self._rows = torch.arange(self.size, dtype=torch.int32).repeat_interleave(active)

    def logits(self, s: slice) -> Tensor:
        columns = self._label_columns(s)[:, : self._active].int()
        return F.embedding_bag(columns, self._table, mode="sum", per_sample_weights=self._weight[s, : self._active])

    def backward(self, gradient: Tensor, s: slice, grad_weight: Tensor) -> None:
        n_labels, fan_in = grad_weight.shape
        slots = torch.arange(0, n_labels * fan_in + 1, fan_in, dtype=torch.int32)
        columns = self._label_columns(s).int().flatten()
        shape = (n_labels, len(self._table))
        sampled = torch.sparse_csr_tensor(slots, columns, grad_weight.view(-1), shape, check_invariants=False)
        torch.sparse.sampled_addmm(sampled, gradient, self._table.T, beta=0.0, out=sampled)
        self._add_grad_features(gradient, s)

    def _add_grad_features(self, gradient: Tensor, s: slice) -> None:
        """Sort the block's connections by column, then sum those of each column in order of their labels."""
        columns, order = self._label_columns(s)[:, : self._active].flatten().sort(stable=True)
        starts = torch.searchsorted(columns, self._columns, out_int32=True)
        self._grad_table += F.embedding_bag(
            self._rows.index_select(0, order),
            gradient,
            starts,
            mode="sum",
            per_sample_weights=self._weight[s, : self._active].flatten().index_select(0, order),
        )

    def grad_features(self) -> Tensor:
        return self._grad_table.T.contiguous()

    def _label_columns(self, s: slice) -> Tensor:
        return label_columns(self._index, s, self._group_size)


class _Densified:
    def __init__(self, features: Tensor, weight: Tensor, index: Tensor, active: int) -> None:
        n_labels, in_features = len(weight), features.shape[1]
        row = features.element_size() * 2 * (in_features + len(features))
        self.size = _block_size(_DENSIFIED_BYTES[features.device.type], n_labels, row)
        self._features, self._weight, self._index, self._active = features, weight, index, active
        self._group_size = group_size(n_labels, len(index))
        self._dense = features.new_empty(self.size, in_features)
        self._grad_dense = torch.empty_like(self._dense)
        self._held: slice | None = None
        self._grad_features = torch.zeros_like(features, dtype=wide(features))

    def _densify(self, s: slice) -> Tensor:
        dense = self._dense[: s.stop - s.start]
        if self._held != s:
            columns = label_columns(self._index, s, self._group_size)[:, : self._active].long()
            dense.zero_().scatter_add_(1, columns, self._weight[s, : self._active].to(dense.dtype))
            self._held = s
        return dense

    def logits(self, s: slice) -> Tensor:
        return (self._densify(s) @ self._features.T).to(wide(self._features))

    def backward(self, gradient: Tensor, s: slice, grad_weight: Tensor) -> None:
        grad_dense = torch.mm(gradient, self._features, out=self._grad_dense[: len(gradient)])
        columns = label_columns(self._index, s, self._group_size).long()
        grad_weight.copy_(grad_dense.gather(1, columns))
        self._grad_features += gradient.T @ self._densify(s)

    def grad_features(self) -> Tensor:
        return self._grad_features.to(self._features.dtype)


def _block_size(budget: int, n_labels: int, row_bytes: int) -> int:
    return min(n_labels, max(64, budget // row_bytes))
