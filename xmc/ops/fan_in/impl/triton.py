"""The GPU: logits, loss, gradients and update of a tile of labels x the whole batch in one program.

Features are transposed, so that a connection reads contiguous numbers of the batch, and nothing of L x K x B or B x L
goes to memory. The gradient of the features is summed by atomic adds of 64-bit integers in a fixed-point scale chosen
from the inputs: sums of integers do not depend on the order in which programs finish, as those of floats would; the
price is 8 bytes an atomic instead of 4. A group of labels that share their columns is a small dense product (`tl.dot`)
and adds once for all of them. Offsets are 64-bit.

Runs on CUDA, and on CPU tensors with TRITON_INTERPRET=1, to check the numerics without a GPU.
"""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
import triton.testing
from torch import Tensor

from xmc.ops.blocks import group_size
from xmc.ops.fan_in.impl import triton_kernels
from xmc.ops.fan_in.impl.tuning import Configuration, Tuner
from xmc.ops.losses import wide
from xmc.ops.random import stream_key
from xmc.ops.topk import StreamingTopK
from xmc.storage import user_cache
from xmc.types import LossName, Positives, StepOutput, TopK

CHECKS_COLUMNS = False

# What a program does with the logits of its tile: a loss, or writing them, or reading their gradient from elsewhere.
MODES = {"bce": 0, "squared_hinge": 1, "logits": 2, "gradient": 3}

_TILE = 512  # labels x documents of a plain tile
SLOTS = 16  # connections of a group taken at once
_TOPK_LABELS = 1 << 15  # labels whose logits exist at once while ranking
_MOST_DOCUMENTS = 1024  # of a tile
_REHEARSED = 1 << 16  # labels on which configurations are timed
_TUNER = Tuner((cache := user_cache()) and cache / "xmc" / f"triton-{triton.__version__}.json")
_TYPES = (torch.float32, torch.bfloat16)


def lacks(device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
    """What is missing to serve features and weights of these types on this device, or None."""
    if device.type != "cuda" and not (device.type == "cpu" and triton.knobs.runtime.interpret):
        return f"it serves cuda (and cpu if TRITON_INTERPRET=1), not {device.type}"
    if dtype not in _TYPES or weight_dtype not in _TYPES:
        return "features and weights must be float32 or bfloat16"
    return None


def linear(features: Tensor, weight: Tensor, index: Tensor, bias: Tensor) -> Tensor:
    """Logits [B, L], with the strides of its transpose, in the precision that losses use."""
    logits = torch.empty(len(weight), len(features), dtype=torch.float32, device=features.device)
    for first, part in _documents(features):
        _launch("logits", part, weight, index, bias, weight.shape[1], logits=logits[:, first : first + len(part)])
    return logits.T


def linear_backward(gradient: Tensor, features: Tensor, weight: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of features, weight and bias from the gradient [B, L] of the logits."""
    grads = _Gradients(weight)
    transposed = gradient.T.float().contiguous()
    largest = transposed.abs().max()
    for first, part in _documents(features):
        sums = _FixedPoint(part, weight, largest)
        rows = transposed[:, first : first + len(part)]
        with grads.of_a_part() as written:
            _launch("gradient", part, weight, index, written[1], weight.shape[1], logits=rows, sums=sums, grads=written)
        grads.features.append(sums.features(features.dtype))
    return torch.cat(grads.features), grads.weight, grads.bias


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
    grads = _Gradients(weight)
    total = torch.zeros((), dtype=torch.float64, device=features.device)
    for first, part in _documents(features):
        sums = _FixedPoint(part, weight, _largest_gradient(part, weight, bias, loss) / len(features))
        targets = _Targets(positives, label_offset, len(weight), first, first + len(part))
        shared: dict[str, Any] = {"targets": targets, "sums": sums, "scale": 1 / len(features)}
        with grads.of_a_part() as written:
            total += _launch(loss, part, weight, index, bias, active, grads=written, **shared)
        grads.features.append(sums.features(features.dtype))
    mean = (total / len(features)).to(wide(features))
    return StepOutput(mean, torch.cat(grads.features), grads.weight, grads.bias)


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
    if len(features) > _MOST_DOCUMENTS:
        raise ValueError(
            f"features: the back end triton updates in place with at most {_MOST_DOCUMENTS} documents, got "
            f"{len(features)}; take a smaller batch, or backend=torch"
        )
    sums = _FixedPoint(features, weight, _largest_gradient(features, weight, bias, loss) / len(features))
    targets = _Targets(positives, label_offset, len(weight), 0, len(features))
    update = (lr, 1 - lr * weight_decay, stream_key(*rounding), label_offset)
    launched: dict[str, Any] = {"sums": sums, "scale": 1 / len(features), "update": update}
    total = _launch(loss, features, weight, index, bias, active, targets=targets, **launched)
    return (total / len(features)).to(wide(features)), sums.features(features.dtype)


def topk(features: Tensor, weight: Tensor, index: Tensor, bias: Tensor, k: int, label_offset: int, active: int) -> TopK:
    """The k best labels; see `xmc.ops.fan_in.fan_in_topk`."""
    size = group_size(len(weight), len(index))
    block = max(1, _TOPK_LABELS // size) * size
    ranked = []
    for _, part in _documents(features):
        best = StreamingTopK(k)
        for start in range(0, len(weight), block):
            s, g = slice(start, start + block), slice(start // size, (start + block) // size)
            logits = torch.empty(len(weight[s]), len(part), dtype=torch.float32, device=features.device)
            _launch("logits", part, weight[s], index[g], bias[s], active, logits=logits, labels_a_group=size)
            best.add(logits.T, label_offset + start)
        ranked.append(best.result())
    return TopK.cat(ranked)


def _documents(features: Tensor) -> list[tuple[int, Tensor]]:
    """The batch in parts that one tile takes, each with its first row."""
    return [(i * _MOST_DOCUMENTS, part) for i, part in enumerate(features.split(_MOST_DOCUMENTS))]


class _Gradients:
    """Gradients of weight and bias, float32, summed over the parts of a batch, and those of the features by part."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = torch.empty_like(weight, dtype=torch.float32)
        self.bias = weight.new_empty(len(weight), dtype=torch.float32)
        self.features: list[Tensor] = []

    @contextlib.contextmanager
    def of_a_part(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Tensors to write the gradients of one part to."""
        if not self.features:
            yield self.weight, self.bias
            return
        written = torch.empty_like(self.weight), torch.empty_like(self.bias)
        yield written
        self.weight += written[0]
        self.bias += written[1]


def _largest_gradient(features: Tensor, weight: Tensor, bias: Tensor, loss: LossName) -> Tensor:
    """A bound of |d loss / d logit| of one document."""
    if loss == "bce":
        return torch.ones((), device=features.device)
    logit = weight.shape[1] * _largest(weight) * _largest(features) + _largest(bias)
    return 2 * (1 + logit)


def _largest(tensor: Tensor) -> Tensor:
    low, high = tensor.aminmax()
    return torch.maximum(-low, high).float()


class _FixedPoint:
    """The gradient of the features [D, B] as 64-bit integers, in a scale in which no sum over all labels overflows."""

    def __init__(self, features: Tensor, weight: Tensor, largest_gradient: Tensor) -> None:
        bound = weight.numel() * _largest(weight).double() * largest_gradient.double()
        self.scale = torch.exp2(torch.floor(62 - torch.log2(bound.clamp_min(1e-30)))).float()
        self.integers = torch.zeros(features.shape[1], len(features), dtype=torch.int64, device=features.device)

    def copy(self) -> "_FixedPoint":
        """Sums of its own in the same scale."""
        other = copy.copy(self)
        other.integers = self.integers.clone()
        return other

    def features(self, dtype: torch.dtype) -> Tensor:
        """The sums as [B, D]."""
        return (self.integers.T.double() / self.scale.double()).to(dtype).contiguous()


class _Targets:
    """Distinct positives sorted by label, then document; `starts` finds those of a tile."""

    def __init__(self, positives: Positives, label_offset: int, n_labels: int, first: int, last: int) -> None:
        local, documents = positives.labels - label_offset, positives.documents()
        served = (local >= 0) & (local < n_labels) & (documents >= first) & (documents < last)
        width = last - first
        pairs = torch.unique(local[served] * width + documents[served] - first)
        self.labels, self.documents = pairs // width, pairs % width

    def starts(self, n_labels: int, tile: int) -> Tensor:
        """Where the positives of each tile of labels begin, int64 [tiles + 1]."""
        bounds = torch.arange(0, n_labels + tile, tile, device=self.labels.device)
        return torch.searchsorted(self.labels, bounds)


@dataclass(frozen=True)
class _Work:
    """What a launch reads and writes. update: learning rate, decay, key of the random numbers, first label's id."""

    features: Tensor
    weight: Tensor
    index: Tensor
    bias: Tensor
    active: int
    size: int
    targets: _Targets | None = None
    logits: Tensor | None = None
    sums: _FixedPoint | None = None
    grads: tuple[Tensor, Tensor] | None = None
    scale: float = 1.0
    update: tuple[float, float, int, int] | None = None

    @property
    def documents(self) -> int:
        """Of a tile: the batch, padded."""
        return max(16, int(triton.next_power_of_2(len(self.features))))

    def rehearsal(self) -> "_Work":
        """The first labels, on copies of all that is written."""
        groups = min(len(self.index), max(1, _REHEARSED // self.size))
        n = min(len(self.weight), groups * self.size)
        return replace(
            self,
            weight=self.weight[:n].clone(),
            index=self.index[:groups],
            bias=self.bias[:n].clone(),
            logits=None if self.logits is None else self.logits[:n].clone(),
            sums=None if self.sums is None else self.sums.copy(),
            grads=None if self.grads is None else (self.grads[0][:n].clone(), self.grads[1][:n].clone()),
        )


def _launch(
    mode: str,
    features: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor,
    active: int,
    *,
    labels_a_group: int | None = None,
    **rest: Any,
) -> Tensor:
    """Run the kernel over all labels; returns the loss summed over labels and documents, float64. rest: of `_Work`."""
    size = labels_a_group or group_size(len(weight), len(index))
    work = _Work(features, weight, index, bias, active, size, **rest)
    options = configurations(size, work.documents, features.dtype)
    if not features.is_cuda:
        return _run(mode, work, options[0])
    how = "in place" if work.update else "with gradients" if work.grads else "forward"
    types = f"{features.dtype} features, {weight.dtype} weights".replace("torch.", "")
    gpu = torch.cuda.get_device_name(features.device)
    call = f"{mode} {how}, groups of {size}, {work.documents} documents, {types}, {gpu}"

    def milliseconds(option: Configuration) -> float:
        trial = work.rehearsal()
        return float(triton.testing.do_bench(lambda: _run(mode, trial, option), return_mode="median"))

    return _run(mode, work, _TUNER.choose(call, options, milliseconds))


def _run(mode: str, work: _Work, configuration: Configuration) -> Tensor:
    (batch, _), (n_labels, fan_in), size = work.features.shape, work.weight.shape, work.size
    tile = configuration.labels if size == 1 else size
    n_tiles = triton.cdiv(n_labels, tile)
    losses = torch.zeros(n_tiles, dtype=torch.float32, device=work.features.device)
    nothing, targets, logits, sums = losses, work.targets, work.logits, work.sums
    lr, decay, key, label_offset = work.update or (0.0, 1.0, 0, 0)
    arguments: tuple[Any, ...] = (
        *(work.features.T.contiguous(), work.index, work.weight, work.bias),
        targets.starts(n_labels, tile) if targets else nothing,
        targets.labels if targets else nothing,
        targets.documents if targets else nothing,
        nothing if logits is None else logits,
        0 if logits is None else logits.stride(0),
        sums.integers if sums else nothing,
        sums.scale if sums else nothing,
        *(work.grads or (nothing, nothing)),
        *(losses, n_labels, batch, fan_in, work.active, work.scale, lr, decay, key, label_offset),
    )
    shared = {"MODE": MODES[mode], "IN_PLACE": work.update is not None, "B": work.documents, "L": configuration.labels}
    kernel = triton_kernels.plain
    if size > 1:
        kernel, arguments, shared["K"] = triton_kernels.grouped, (*arguments, size), SLOTS
    kernel[(n_tiles,)](*arguments, **shared, num_warps=configuration.warps, num_stages=1)
    return losses.sum(dtype=torch.float64)


def configurations(size: int, documents: int, dtype: torch.dtype) -> list[Configuration]:
    """Those worth trying for groups of `size` labels and a padded number of documents; the first is a safe choice.

    It gives a program as many labels and as few warps as registers hold without spilling.
    """
    if size == 1:
        labels = max(1, (_TILE if dtype == torch.bfloat16 else _TILE // 2) // documents)
        return [
            Configuration("plain", labels, 4),
            Configuration("plain, twice the warps", labels, 8),
            *([Configuration("plain, twice both", 2 * labels, 8)] if dtype == torch.float32 else []),
            *([Configuration("plain, half the labels", labels // 2, 4)] if labels > 1 else []),
        ]
    labels = max(16, triton.next_power_of_2(size))
    numbers = labels * documents
    fewest, a_warp = (8, 512) if dtype == torch.float32 else (4, 1024)  # without tensor cores, and with them
    warps = min(16, max(fewest, numbers // a_warp))
    return [
        Configuration("groups", labels, warps),
        *([Configuration("groups, twice the warps", labels, 2 * warps)] if warps < 16 else []),
    ]
