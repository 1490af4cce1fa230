"""The CPU: one pass over the labels, a row of the batch at a time in vector registers.

The features are transposed once, so that a connection meets B contiguous floats. The labels are cut into ranges, as
many as their number asks for, each with a buffer of its own for the gradient of the features; threads take ranges, and
the buffers are added in order, so the result depends on no number of threads. Kernels are compiled on first use and
cached on disk.

To them every array is C-contiguous: table and buffer [D, W], the features transposed and the batch padded to W lanes;
index [G, K]; weight and grad_weight [L, K]; rows [n, W] hold logits, then their gradients. `size` is the labels of a
group.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba.extending import register_jitable
from numpy.typing import NDArray
from torch import Tensor

from xmc.ops.compiled import in_parallel, kernel, ranges_of
from xmc.ops.fan_in.backend import Backend
from xmc.ops.fan_in.impl import microkernels, vectors
from xmc.ops.fan_in.impl.vectors import LANES
from xmc.types import FanIn, InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

_RANGES = 16
_CONNECTIONS = 16  # of a feature in a range, at least: fewer take less time than the range's buffer
_LINE = 64  # bytes of a cache line
_BUFFER_BYTES = 64 << 20  # of all ranges' feature gradients
_BLOCK = 16  # labels that pass through each stage together, about
_FLUSH = 64  # labels whose losses are summed in float32
_TILE_BYTES = 4 << 20  # of the table, where the tokens of a transformer are the batch

_kernel = kernel(__file__, microkernels.__file__, vectors.__file__)


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
            linear_range(table, *arrays, first, last, logits)

        in_parallel(linear_range, run, ranges_of(len(layer), layer.group_size, _RANGES))
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
        ranges = ranges_of(len(layer), block_of(size), _buffers(table, layer))
        buffers = _aligned(len(ranges), *table.shape)

        def run(first: int, last: int, buffer: NDArray[np.float32]) -> None:
            rows = _aligned(block_of(size), table.shape[1])
            linear_backward_range(table, buffer, rows, index, weight, size, active, first, last, *written)

        work = ((*r, buffer) for r, buffer in zip(ranges, buffers, strict=True))
        in_parallel(linear_backward_range, run, work)
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
            rows = _aligned(block_of(size), table.shape[1])  # no cache line is shared
            topk_range(table, rows, *arrays, first, last, scores[i], labels[i])

        in_parallel(topk_range, run, ((i, *bounds) for i, bounds in enumerate(ranges)))
        if len(ranges) == 1 and not layer.label_offset:
            return TopK(torch.from_numpy(scores[0]), torch.from_numpy(labels[0]))
        best = TopK(torch.empty(scores.shape[1:]), torch.empty(scores.shape[1:], dtype=torch.int64))
        merge_ranges(scores, labels, layer.label_offset, best.scores.numpy(), best.labels.numpy())
        return best


def _pass(
    features: Tensor, layer: FanIn, positives: Positives, loss: LossName, update: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the features. update: the last five arguments of `pass_range`."""
    table, batch, size = _table(features), len(features), layer.group_size
    arrays, targets = _layer_arrays(layer), _by_label(positives, layer)
    scale = np.zeros(table.shape[1], np.float32)
    scale[:batch] = 1 / batch
    ranges = ranges_of(len(layer), size, _buffers(table, layer))
    buffers = _aligned(len(ranges), *table.shape)
    losses = np.zeros((len(ranges), table.shape[1]))

    def run(first: int, last: int, buffer: NDArray[np.float32], range_losses: NDArray[np.float64]) -> None:
        rows = _aligned(block_of(size), table.shape[1])
        pass_range(table, buffer, rows, *arrays, first, last, *targets, scale, loss == "bce", range_losses, *update)

    in_parallel(pass_range, run, ((*r, b, s) for r, b, s in zip(ranges, buffers, losses, strict=True)))
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


@register_jitable(inline="always")
def block_of(size):
    """Labels that pass through each stage together: whole groups of `size`."""
    return size * max(1, _BLOCK // size)


@_kernel
def pass_range(
    table,
    buffer,
    rows,
    index,
    weight,
    bias,
    size,
    active,
    first,
    last,
    positive_labels,
    positive_documents,
    scale,
    is_bce,
    losses,
    grad_weight,
    grad_bias,
    in_place,
    rate,
    decay,
):
    """Labels [first, last): logits, losses, gradients, and the update where `in_place`.

    Each of these is done for a block of labels before the next, so that the processor overlaps neighbouring labels.
    """
    width, fan_in = table.shape[1], weight.shape[1]
    block = block_of(size)
    partial = np.zeros(width, np.float32)
    sink = np.zeros((block, fan_in), np.float32) if in_place else grad_weight
    positive = np.searchsorted(positive_labels, first)
    unflushed = 0
    for start in range(first, last, block):
        stop = min(start + block, last)
        microkernels.forward(
            table, index, start // size, weight, bias, start, stop - start, size, fan_in, active, rows, 0
        )
        turned = positive
        while positive < len(positive_labels) and positive_labels[positive] < stop:
            j, b = positive_labels[positive] - start, positive_documents[positive]
            rows[j, b] = -rows[j, b]
            positive += 1
        for j in range(stop - start):
            if is_bce:
                microkernels.bce(rows, j, width, scale, partial)
            else:
                microkernels.squared_hinge(rows, j, width, scale, partial)
        for i in range(turned, positive):
            j, b = positive_labels[i] - start, positive_documents[i]
            rows[j, b] = -rows[j, b]
        for row in range(start, stop, size):
            at = row - start
            into = at if in_place else row
            if size == 1:  # said apart: a loop over one label that the compiler knows of costs nothing
                microkernels.backward(table, buffer, index, row, weight, row, 1, fan_in, active, rows, at, sink, into)
            else:
                labels = min(size, stop - row)
                microkernels.backward(
                    table, buffer, index, row // size, weight, row, labels, fan_in, active, rows, at, sink, into
                )
        for j in range(stop - start):
            if in_place:
                microkernels.sgd_update(weight, start + j, fan_in, sink, j, decay, rate)
                bias[start + j] -= rate * microkernels.row_sum(rows, j, width)
            else:
                grad_bias[start + j] = microkernels.row_sum(rows, j, width)
        unflushed += stop - start
        if unflushed >= _FLUSH or stop == last:
            losses += partial
            partial[:] = 0
            unflushed = 0


@register_jitable(inline="always")
def _any_above(scores, thresholds):
    """Whether one of the scores [W] is above its threshold; NaN is above nothing."""
    found = False
    for lane in range(len(scores)):
        found |= scores[lane] > thresholds[lane]  # a branch would keep this loop from vectors
    return found


@_kernel
def topk_range(table, rows, index, weight, bias, size, active, first, last, best_scores, best_labels):
    """The best labels of [first, last) for each document, in descending order; equal scores by ascending label."""
    width, (batch, k) = table.shape[1], best_scores.shape
    best_scores[:] = -np.inf
    best_labels[:] = -1
    thresholds = np.full(width, np.inf, np.float32)
    block, fan_in = block_of(size), weight.shape[1]
    for start in range(first, last, block):
        labels = min(block, last - start)
        microkernels.forward(table, index, start // size, weight, bias, start, labels, size, fan_in, active, rows, 0)
        for j in range(labels):
            seen = start + j - first
            if seen >= k and not _any_above(rows[j], thresholds):
                continue
            for b in range(batch):
                score = rows[j, b]
                if np.isnan(score):
                    score = np.float32(-np.inf)
                if seen < k:
                    place = seen
                elif score > thresholds[b]:
                    place = k - 1
                else:
                    continue
                while place > 0 and best_scores[b, place - 1] < score:
                    best_scores[b, place] = best_scores[b, place - 1]
                    best_labels[b, place] = best_labels[b, place - 1]
                    place -= 1
                best_scores[b, place] = score
                best_labels[b, place] = start + j
                if seen >= k - 1:
                    thresholds[b] = best_scores[b, k - 1]


@_kernel
def merge_ranges(scores, labels, label_offset, best_scores, best_labels):
    """The best of all ranges, [ranges, B, k] to [B, k]; equal scores by ascending label, as the ranges ascend."""
    n_ranges, batch, k = scores.shape
    taken = np.empty(n_ranges, np.int64)
    for b in range(batch):
        taken[:] = 0
        for i in range(k):
            best = -1
            for r in range(n_ranges):
                if taken[r] == k or labels[r, b, taken[r]] < 0:
                    continue
                if best < 0 or scores[r, b, taken[r]] > scores[best, b, taken[best]]:
                    best = r
            if best < 0:
                best_scores[b, i], best_labels[b, i] = -np.inf, -1
            else:
                place = taken[best]
                best_scores[b, i], best_labels[b, i] = scores[best, b, place], labels[best, b, place] + label_offset
                taken[best] += 1


@_kernel
def linear_range(table, index, weight, bias, size, active, first, last, logits):
    """Logits of the labels [first, last), one row [W] each."""
    block, fan_in = block_of(size), weight.shape[1]
    for row in range(first, last, block):
        labels = min(block, last - row)
        microkernels.forward(table, index, row // size, weight, bias, row, labels, size, fan_in, active, logits, row)


@_kernel
def linear_backward_range(
    table, buffer, rows, index, weight, size, active, first, last, gradient, grad_weight, grad_bias
):
    """Gradients of the labels [first, last) from those of their logits, [L, B]."""
    batch, fan_in, width = gradient.shape[1], weight.shape[1], table.shape[1]
    block = block_of(size)
    for start in range(first, last, block):
        stop = min(start + block, last)
        for j in range(stop - start):
            rows[j, :batch] = gradient[start + j]
        for row in range(start, stop, size):
            labels, at = min(size, stop - row), row - start
            microkernels.backward(
                table, buffer, index, row // size, weight, row, labels, fan_in, active, rows, at, grad_weight, row
            )
        for j in range(stop - start):
            grad_bias[start + j] = microkernels.row_sum(rows, j, width)


@_kernel
def first_unlike(index, seen):
    """The first row of the index that repeats a column, or has one beyond those of `seen`, int64 [D] of -1; or -1."""
    for row in range(index.shape[0]):
        for slot in range(index.shape[1]):
            column = index[row, slot]
            if column < 0 or column >= len(seen) or seen[column] == row:
                return row
            seen[column] = row
    return -1
