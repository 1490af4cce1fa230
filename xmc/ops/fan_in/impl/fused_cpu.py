"""The CPU: one pass over the labels, a row of the batch at a time in vector registers.

The features are transposed once, so that a connection meets B contiguous floats. The labels are cut into ranges, as
many as their number asks for, each with a buffer of its own for the gradient of the features; threads take ranges, and
the buffers are added in order, so the result depends on no number of threads. Kernels are compiled on first use and
cached on disk.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.ops.compiled import in_parallel, ranges_of
from xmc.ops.fan_in.backend import Backend
from xmc.ops.fan_in.impl import numba_kernels as kernels
from xmc.ops.fan_in.impl.vectors import LANES
from xmc.ops.fan_in.layer import FanIn
from xmc.types import InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

_RANGES = 16
_CONNECTIONS = 16  # of a feature in a range, at least: fewer take less time than the range's buffer
_LINE = 64  # bytes of a cache line
_BUFFER_BYTES = 64 << 20  # of all ranges' feature gradients
_TILE_BYTES = 4 << 20  # of the table, where the tokens of a transformer are the batch


class NumbaBackend(Backend):
    def lacks(self, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
        if device.type != "cpu":
            return f"it serves the cpu, not {device.type}"
        return None if dtype == weight_dtype == torch.float32 else "features and weights must be float32"

    def linear(self, features: Tensor, layer: FanIn) -> Tensor:
        table = _table(features)
        logits = _aligned(len(layer), table.shape[1], allocate=np.empty)
        arrays = _layer_arrays(layer)

        def run(first: int, last: int) -> None:
            kernels.linear_range(table, *arrays, first, last, logits)

        in_parallel(kernels.linear_range, run, ranges_of(len(layer), layer.group_size, _RANGES))
        return torch.from_numpy(logits)[:, : len(features)].T

    def linear_backward(self, gradient: Tensor, features: Tensor, layer: FanIn) -> tuple[Tensor, Tensor, Tensor]:
        """A tile of the batch at a time."""
        tile = max(LANES, _TILE_BYTES // (4 * features.shape[1]) // LANES * LANES)
        if len(features) > tile:
            tiles = zip(gradient.split(tile), features.split(tile), strict=True)
            of_features, of_weight, of_bias = zip(*(self.linear_backward(*part, layer) for part in tiles), strict=True)
            return torch.cat(of_features), torch.stack(of_weight).sum(0), torch.stack(of_bias).sum(0)
        table = _table(features)
        grad_weight, grad_bias = torch.zeros_like(layer.weight), torch.empty(len(layer))
        index, weight, _, size, active = _layer_arrays(layer)
        written = (gradient.T.contiguous().numpy(), *_arrays(grad_weight, grad_bias))
        ranges = ranges_of(len(layer), kernels.block_of(size), _buffers(table, layer))
        buffers = _aligned(len(ranges), *table.shape)

        def run(first: int, last: int, buffer: NDArray[np.float32]) -> None:
            rows = _aligned(kernels.block_of(size), table.shape[1])
            kernels.linear_backward_range(table, buffer, rows, index, weight, size, active, first, last, *written)

        work = ((*r, buffer) for r, buffer in zip(ranges, buffers, strict=True))
        in_parallel(kernels.linear_backward_range, run, work)
        return _gather(buffers, len(features)), grad_weight, grad_bias

    def loss(self, features: Tensor, layer: FanIn, positives: Positives, loss: LossName) -> StepOutput:
        grad_weight, grad_bias = torch.zeros_like(layer.weight), torch.empty_like(layer.bias)
        update = (*_arrays(grad_weight, grad_bias), False, np.float32(0), np.float32(1))
        total, grad_features = _pass(features, layer, positives, loss, update)
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
        rates = np.float32(update.lr), np.float32(1 - update.lr * update.weight_decay)
        return _pass(features, layer, positives, loss, (*_arrays(layer.weight[:0], layer.bias[:0]), True, *rates))

    def topk(self, features: Tensor, layer: FanIn, k: int) -> TopK:
        table, arrays, size = _table(features), _layer_arrays(layer), layer.group_size
        # The fewer the ranges, the sooner the k best seen keep almost all labels out.
        ranges = ranges_of(len(layer), size * -(-k // size), torch.get_num_threads())
        scores = np.empty((len(ranges), len(features), k), np.float32)
        labels = np.empty(scores.shape, np.int64)

        def run(i: int, first: int, last: int) -> None:
            rows = _aligned(kernels.block_of(size), table.shape[1])  # no cache line is shared
            kernels.topk_range(table, rows, *arrays, first, last, scores[i], labels[i])

        in_parallel(kernels.topk_range, run, ((i, *bounds) for i, bounds in enumerate(ranges)))
        if len(ranges) == 1 and not layer.label_offset:
            return TopK(torch.from_numpy(scores[0]), torch.from_numpy(labels[0]))
        best = TopK(torch.empty(scores.shape[1:]), torch.empty(scores.shape[1:], dtype=torch.int64))
        kernels.merge_ranges(scores, labels, layer.label_offset, best.scores.numpy(), best.labels.numpy())
        return best


def _pass(
    features: Tensor, layer: FanIn, positives: Positives, loss: LossName, update: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the features. update: the last five arguments of `kernels.pass_range`."""
    table, batch, size = _table(features), len(features), layer.group_size
    arrays, targets = _layer_arrays(layer), _by_label(positives, layer)
    scale = np.zeros(table.shape[1], np.float32)
    scale[:batch] = 1 / batch
    ranges = ranges_of(len(layer), size, _buffers(table, layer))
    buffers = _aligned(len(ranges), *table.shape)
    losses = np.zeros((len(ranges), table.shape[1]))

    def run(first: int, last: int, buffer: NDArray[np.float32], range_losses: NDArray[np.float64]) -> None:
        rows = _aligned(kernels.block_of(size), table.shape[1])
        kernels.pass_range(
            table, buffer, rows, *arrays, first, last, *targets, scale, loss == "bce", range_losses, *update
        )

    in_parallel(kernels.pass_range, run, ((*r, b, s) for r, b, s in zip(ranges, buffers, losses, strict=True)))
    return torch.tensor(losses[:, :batch].sum() / batch, dtype=torch.float32), _gather(buffers, batch)


def _table(features: Tensor) -> NDArray[np.float32]:
    """Features transposed [D, W], the batch padded with zeros to 8 lanes or a multiple of 16."""
    batch = len(features)
    width = 8 if batch <= 8 else -(-batch // LANES) * LANES
    table = _aligned(features.shape[1], width)
    table[:, :batch] = features.detach().numpy().T
    return table


def _aligned(*shape: int, allocate: Callable[[int, type], NDArray[np.float32]] = np.zeros) -> NDArray[np.float32]:
    """An array from the start of a cache line on; vectors that cross two lines cost a quarter of the whole pass.

    NumPy's memory, not torch's: on Linux it asks for huge pages, which halves the time to fill large logits.
    """
    size = math.prod(shape)
    memory = allocate(size + _LINE // 4, np.float32)
    start = -memory.ctypes.data % _LINE // memory.itemsize
    return memory[start : start + size].reshape(shape)


def _arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)


def _layer_arrays(layer: FanIn) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32], int, int]:
    """Index, weight, bias, labels of a group and active slots, as the kernels take them."""
    index, weight, bias = _arrays(layer.index, layer.weight, layer.bias)
    return index, weight, bias, layer.group_size, layer.n_active


def _by_label(positives: Positives, layer: FanIn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Local label and document of each distinct positive, sorted by label, then document."""
    local = positives.labels - layer.label_offset
    served = (local >= 0) & (local < len(layer))
    batch = len(positives)
    pairs = torch.unique(local[served] * batch + positives.documents()[served]).numpy()
    return pairs // batch, pairs % batch


def _buffers(table: NDArray[np.float32], layer: FanIn) -> int:
    """How many buffers as large as the table fit, and pay."""
    pay = layer.weight.numel() // (_CONNECTIONS * len(table))
    return int(max(1, min(_RANGES, _BUFFER_BYTES // table.nbytes, pay)))


def _gather(buffers: NDArray[np.float32], batch: int) -> Tensor:
    """Sum of the ranges' buffers in order, as features [B, D]."""
    total = torch.from_numpy(buffers[0])
    for buffer in buffers[1:]:
        total += torch.from_numpy(buffer)
    return total[:, :batch].T.contiguous()
