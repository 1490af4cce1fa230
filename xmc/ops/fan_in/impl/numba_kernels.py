"""The numba kernels: ranges of labels; see `fused_cpu.py`.

Every array is C-contiguous: table and buffer [D, W], the features transposed and the batch padded to W lanes; index
[G, K]; weight and grad_weight [L, K]; rows [n, W] hold logits, then their gradients. `size` is the labels of a group.
"""

import numpy as np
from numba.extending import register_jitable

from xmc.ops.compiled import kernel
from xmc.ops.fan_in.impl import elementwise, microkernels, vectors

_BLOCK = 16  # labels that pass through each stage together, about
_FLUSH = 64  # labels whose losses are summed in float32


_kernel = kernel(__file__, elementwise.__file__, microkernels.__file__, vectors.__file__)


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
                elementwise.bce(rows, j, width, scale, partial)
            else:
                elementwise.squared_hinge(rows, j, width, scale, partial)
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
                elementwise.sgd_update(weight, start + j, fan_in, sink, j, decay, rate)
                bias[start + j] -= rate * elementwise.row_sum(rows, j, width)
            else:
                grad_bias[start + j] = elementwise.row_sum(rows, j, width)
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
            grad_bias[start + j] = elementwise.row_sum(rows, j, width)


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
