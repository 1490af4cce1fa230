"""The GPU: logits, loss, gradients and update of a tile of labels x the whole batch in one program.

Features are transposed, so that a connection reads contiguous numbers of the batch, and nothing of L x K x B or B x L
goes to memory. The gradient of the features is summed in one of two ways, both in an order of their own:

- by atomic adds of 64-bit integers in a fixed-point scale chosen from the inputs: sums of integers do not depend on the
  order in which programs finish, as those of floats would; the price is 8 bytes an atomic instead of 4. A group of
  labels that share their columns is a small dense product (`tl.dot`) and adds once for all of them.
- densified: the logits' gradient of a block of labels is written, [l, B], and a second kernel multiplies it by the
  block's weights, a few labels and columns at a time made dense in a scratch that stays in the L2. Each program sums a
  chunk of the labels for some columns in registers; the chunks are added in order.

Offsets are 64-bit.

Runs on CUDA, and on CPU tensors with TRITON_INTERPRET=1, to check the numerics without a GPU.
"""

import contextlib
import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
import triton.testing
from torch import Tensor

from xmc.errors import said
from xmc.ops.blocks import label_slices
from xmc.ops.counter_rng import rounded, stream_key
from xmc.ops.fan_in.backend import Backend, update_
from xmc.ops.fan_in.impl import triton_kernels, tuning
from xmc.ops.fan_in.impl.tuning import REHEARSED, Configuration, DoesNotFit
from xmc.ops.losses import wide
from xmc.ops.topk import StreamingTopK
from xmc.types import FanIn, InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

# What a program does with the logits of its tile: a loss, or writing them, or reading their gradient from elsewhere.
MODES = {"bce": 0, "squared_hinge": 1, "logits": 2, "gradient": 3}

_TILE = 512  # labels x documents of a plain tile
SLOTS = 16  # connections of a group taken at once
_TOPK_LABELS = 1 << 15  # labels whose logits exist at once while ranking
_MOST_DOCUMENTS, _FEWEST_DOCUMENTS = 1024, 16  # of a tile
_GROUP_TILE, _GROUP_DOCUMENTS = 1 << 13, 256  # labels x documents of a group's tile: larger ones spill registers
_SHARED_MEMORY = 99 << 10  # bytes a program, where no GPU is asked: what sm_89 and sm_120 have
_BLOCK = 1 << 17  # labels whose gradients exist at once where a step in place takes several tiles, or is densified
_BLOCK_BYTES = 32 << 20  # of the gradients of logits that are densified at once
SPREAD_DOCUMENTS, SPREAD_WARPS, _PROGRAMS = 128, 8, 256  # of a program that carries gradients, and of such programs
_LARGEST_EXPONENT = 126  # of a scale that float32 holds, where weights are zero or nearly so
_TYPES = (torch.float32, torch.bfloat16)


class TritonBackend(Backend):
    def lacks(self, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
        if not hasattr(triton, "knobs"):
            return f"it needs Triton 3.4 or later, and {triton.__version__} is installed"
        if device.type != "cuda" and not (device.type == "cpu" and triton.knobs.runtime.interpret):
            return f"it serves cuda (and cpu if TRITON_INTERPRET=1), not {device.type}"
        if dtype not in _TYPES or weight_dtype not in _TYPES:
            return "features and weights must be float32 or bfloat16"
        return _fault(device) if device.type == "cuda" and torch.cuda.is_available() else None

    def linear(self, features: Tensor, layer: FanIn) -> Tensor:
        logits = torch.empty(len(layer), len(features), dtype=torch.float32, device=features.device)
        for first, part in _parts(features, layer):
            _launch("logits", part, layer, logits=logits[:, first : first + len(part)])
        return logits.T

    def linear_backward(self, gradient: Tensor, features: Tensor, layer: FanIn) -> tuple[Tensor, Tensor, Tensor]:
        grads = _Gradients(layer)
        transposed = gradient.T.float().contiguous()
        largest = transposed.abs().max()
        for first, part in _parts(features, layer):
            sums = _FeatureSums(part, layer, largest)
            rows = transposed[:, first : first + len(part)]
            with grads.of_a_part() as written:
                _launch("gradient", part, layer, logits=rows, sums=sums, grads=written)
            grads.features.append(sums.features(features.dtype))
        return torch.cat(grads.features), grads.weight, grads.bias

    def loss(self, features: Tensor, layer: FanIn, positives: Positives, loss: LossName) -> StepOutput:
        grads = _Gradients(layer)
        total = torch.zeros((), dtype=torch.float64, device=features.device)
        for first, part in _parts(features, layer):
            sums = _FeatureSums(part, layer, _largest_gradient(part, layer, loss) / len(features))
            shared: dict[str, Any] = {
                "targets": _Targets(positives, layer, first, first + len(part)),
                "sums": sums,
                "scale": 1 / len(features),
            }
            with grads.of_a_part() as written:
                total += _launch(loss, part, layer, grads=written, **shared)
            grads.features.append(sums.features(features.dtype))
        mean = (total / len(features)).to(wide(features))
        return StepOutput(mean, torch.cat(grads.features), grads.weight, grads.bias)

    def sgd_step(
        self,
        features: Tensor,
        layer: FanIn,
        positives: Positives,
        loss: LossName,
        update: InPlaceUpdate,
        applies: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        if len(_parts(features, layer)) > 1:
            return _step_by_blocks(features, layer, positives, loss, update, applies)
        sums = _FeatureSums(features, layer, _largest_gradient(features, layer, loss) / len(features))
        targets = _Targets(positives, layer, 0, len(features))
        if applies is None:
            applies = torch.ones((), dtype=torch.bool, device=features.device)
        stepping: dict[str, Any] = {"update": update, "applies": applies.int()}
        total = _launch(loss, features, layer, targets=targets, sums=sums, scale=1 / len(features), **stepping)
        return (total / len(features)).to(wide(features)), sums.features(features.dtype)

    def topk(self, features: Tensor, layer: FanIn, k: int) -> TopK:
        size = layer.group_size
        block = max(1, _TOPK_LABELS // size) * size
        ranked = []
        for _, part in _parts(features, layer):
            best = StreamingTopK(k)
            for start in range(0, len(layer), block):
                rows = layer.part(slice(start // size, (start + block) // size))
                logits = torch.empty(len(rows), len(part), dtype=torch.float32, device=features.device)
                _launch("logits", part, rows, logits=logits)
                best.add(logits.T, rows.label_offset)
            ranked.append(best.result())
        return TopK.cat(ranked)


@functools.cache
def _fault(device: torch.device) -> str | None:
    """Why a kernel of one number cannot be built and launched on this GPU, or None."""
    try:
        with current(device):
            triton_kernels.probe[(1,)](torch.zeros(1, device=device))
    except Exception as error:  # of the compiler, the linker or the driver, each with exceptions of its own
        return (
            f"no kernel can be launched, for which Triton needs a C compiler and the headers of Python: {said(error)}"
        )
    return None


def _parts(features: Tensor, layer: FanIn) -> list[tuple[int, Tensor]]:
    """The batch in parts that one tile takes, each with its first row."""
    most = most_documents(layer.group_size, _shared_memory(features.device), features.dtype)
    return [(i * most, part) for i, part in enumerate(features.split(most))]


def most_documents(size: int, shared: int, dtype: torch.dtype) -> int:
    """Documents of a tile of `size` labels, on a GPU that gives a program so many bytes of shared memory.

    A group's tile lies there between its products, in float32, with two of the connections that are taken at once; and
    in registers, which spill beyond a size, of float32 beyond half of it.
    """
    if size == 1:
        return _MOST_DOCUMENTS
    labels = _padded(size)
    tile = _GROUP_TILE if dtype == torch.bfloat16 else _GROUP_TILE // 2
    fitting = max(1, min(tile // labels, _GROUP_DOCUMENTS, shared // (4 * labels + 8 * SLOTS)))
    return max(_FEWEST_DOCUMENTS, 1 << (fitting.bit_length() - 1))


@functools.cache
def _shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that a program may have."""
    if device.type != "cuda":
        return _SHARED_MEMORY
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", _SHARED_MEMORY))


def _step_by_blocks(
    features: Tensor,
    layer: FanIn,
    positives: Positives,
    loss: LossName,
    update: InPlaceUpdate,
    applies: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """A step in place where the batch takes several tiles, whose gradients are added, a block of labels at a time."""
    parts, decay = _parts(features, layer), 1 - update.lr * update.weight_decay
    sums = [_FeatureSums(part, layer, _largest_gradient(part, layer, loss) / len(features)) for _, part in parts]
    total = torch.zeros((), dtype=torch.float64, device=features.device)
    for groups in label_slices(len(layer.index), max(1, _BLOCK // layer.group_size)):
        block = layer.part(groups)
        grads = _Gradients(block)
        for (first, part), of_part in zip(parts, sums, strict=True):
            targets = _Targets(positives, block, first, first + len(part))
            with grads.of_a_part() as written:
                shared: dict[str, Any] = {"targets": targets, "sums": of_part, "scale": 1 / len(features)}
                total += _launch(loss, part, block, grads=written, **shared)
        stepped = block.weight.float() * decay - update.lr * grads.weight
        stepped = rounded(stepped, block.weight.dtype, (update.seed, update.step), block.label_offset)
        update_(block.weight, stepped, applies)
        update_(block.bias, block.bias.sub(grads.bias, alpha=update.lr), applies)
    grad_features = torch.cat([of_part.features(features.dtype) for of_part in sums])
    return (total / len(features)).to(wide(features)), grad_features


class _Gradients:
    """Gradients of weight and bias, float32, summed over the parts of a batch, and those of the features by part."""

    def __init__(self, layer: FanIn) -> None:
        self.weight = torch.empty_like(layer.weight, dtype=torch.float32)
        self.bias = torch.empty_like(layer.bias, dtype=torch.float32)
        self.features: list[Tensor] = []
        self._begun = False

    @contextlib.contextmanager
    def of_a_part(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Tensors to write the gradients of one part to."""
        if not self._begun:
            self._begun = True
            yield self.weight, self.bias
            return
        written = torch.empty_like(self.weight), torch.empty_like(self.bias)
        yield written
        self.weight += written[0]
        self.bias += written[1]


def _largest_gradient(features: Tensor, layer: FanIn, loss: LossName) -> Tensor:
    """A bound of |d loss / d logit| of one document."""
    if loss == "bce":
        return torch.ones((), device=features.device)
    logit = layer.fan_in * _largest(layer.weight) * _largest(features) + _largest(layer.bias)
    return 2 * (1 + logit)


def _largest(tensor: Tensor) -> Tensor:
    low, high = tensor.aminmax()
    return torch.maximum(-low, high).float()


class _FeatureSums:
    """The gradient of the features, summed in two ways, of which a launch takes one.

    integers: [D, B], 64-bit, in a scale in which no sum over all labels overflows. floats: [B, D].
    """

    def __init__(self, features: Tensor, layer: FanIn, largest_gradient: Tensor) -> None:
        bound = layer.weight.numel() * _largest(layer.weight).double() * largest_gradient.double()
        self.scale = torch.exp2(torch.floor(62 - torch.log2(bound)).clamp_max(_LARGEST_EXPONENT)).float()
        self.integers = torch.zeros(features.shape[1], len(features), dtype=torch.int64, device=features.device)
        self.floats = torch.zeros_like(features, dtype=torch.float32)

    def copy(self) -> "_FeatureSums":
        """Sums of its own in the same scale."""
        other = copy.copy(self)
        other.integers, other.floats = self.integers.clone(), self.floats.clone()
        return other

    def features(self, dtype: torch.dtype) -> Tensor:
        """The sums as [B, D]."""
        return (self.integers.T.double() / self.scale.double() + self.floats).to(dtype).contiguous()


class _Targets:
    """Positives sorted by label, then document, and behind them those of other shards; `starts` finds those of a tile.

    Nothing here waits for the device.
    """

    def __init__(self, positives: Positives, layer: FanIn, first: int, last: int) -> None:
        local, documents, width = positives.labels - layer.label_offset, positives.documents(), last - first
        served = (local >= 0) & (local < len(layer)) & (documents >= first) & (documents < last)
        pairs = torch.where(served, local * width + documents - first, torch.iinfo(torch.int64).max).sort().values
        self.labels, self.documents = pairs // width, pairs % width

    def counted_from(self, first: int) -> "_Targets":
        """The same, with labels counted from `first`."""
        other = copy.copy(self)
        other.labels = self.labels - first
        return other

    def starts(self, n_labels: int, tile: int) -> Tensor:
        """Where the positives of each tile of labels begin, int64 [tiles + 1]."""
        bounds = torch.arange(0, n_labels + tile, tile, device=self.labels.device)
        return torch.searchsorted(self.labels, bounds)


@dataclass(frozen=True)
class _Work:
    """What a launch reads and writes."""

    features: Tensor
    layer: FanIn
    targets: _Targets | None = None
    logits: Tensor | None = None
    sums: _FeatureSums | None = None
    grads: tuple[Tensor, Tensor] | None = None
    scale: float = 1.0
    update: InPlaceUpdate | None = None
    applies: Tensor | None = None

    @property
    def documents(self) -> int:
        """Of a tile: the batch, padded."""
        return max(_FEWEST_DOCUMENTS, int(triton.next_power_of_2(len(self.features))))

    def block(self, groups: slice) -> "_Work":
        """A run of the groups, written to the same memory."""
        part = self.layer.part(groups)
        first = part.label_offset - self.layer.label_offset
        labels = slice(first, first + len(part))
        return replace(
            self,
            layer=part,
            targets=self.targets and self.targets.counted_from(first),
            logits=None if self.logits is None else self.logits[labels],
            grads=self.grads and (self.grads[0][labels], self.grads[1][labels]),
        )

    def rehearsal(self) -> "_Work":
        """The first labels, on copies of all that is written."""
        part = self.block(slice(0, max(1, REHEARSED // self.layer.group_size)))
        return replace(
            part,
            layer=tuning.rehearsal(self.layer),
            logits=None if part.logits is None else part.logits.clone(),
            sums=self.sums and self.sums.copy(),
            grads=part.grads and (part.grads[0].clone(), part.grads[1].clone()),
        )


def _launch(mode: str, features: Tensor, layer: FanIn, **rest: Any) -> Tensor:
    """Run the kernel over all labels; returns the loss summed over labels and documents, float64. rest: of `_Work`."""
    with current(features.device):
        return _launch_here(mode, features, layer, **rest)


def current(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Meanwhile the device is that on which Triton launches and measures; without it, another GPU's memory is read."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _launch_here(mode: str, features: Tensor, layer: FanIn, **rest: Any) -> Tensor:
    work, size = _Work(features, layer, **rest), layer.group_size
    options = configurations(size, work.documents, features.dtype, carries=work.sums is not None)
    if not features.is_cuda:
        return _run(mode, work, options[0])
    how = "in place" if work.update else "with gradients" if work.grads else "forward"
    call = f"triton {triton.__version__}, {mode} {how}, {described(features, layer)}"

    def milliseconds(option: Configuration) -> float:
        trial = work.rehearsal()
        try:
            return float(triton.testing.do_bench(lambda: _run(mode, trial, option), return_mode="median"))
        except triton.runtime.OutOfResources as error:
            raise DoesNotFit(said(error)) from None

    return _run(mode, work, tuning.TUNER.choose(call, options, milliseconds))


def described(features: Tensor, layer: FanIn) -> str:
    """What the time of a call depends on, numbers that vary rounded up; a call of one kind has one description."""
    documents, labels = (triton.next_power_of_2(n) for n in (len(features), min(len(layer), REHEARSED)))
    types = f"{features.dtype} features, {layer.weight.dtype} weights".replace("torch.", "")
    gpu = torch.cuda.get_device_name(features.device)
    return (
        f"{layer.fan_in} of {features.shape[1]} columns, groups of {layer.group_size}, {documents} documents, "
        f"{labels} labels, {types}, {gpu}"
    )


def _run(mode: str, work: _Work, configuration: Configuration) -> Tensor:
    if configuration.spread is None:
        return _stream(mode, work, configuration)
    layer, features = work.layer, work.features
    most = min(_BLOCK, _BLOCK_BYTES // (len(features) * features.element_size()))
    total = torch.zeros((), dtype=torch.float64, device=features.device)
    for groups in label_slices(len(layer.index), max(1, most // layer.group_size)):
        block = work.block(groups)
        before = block.layer.weight.clone() if work.update else block.layer.weight
        gradient = features.new_empty(len(before), len(features)) if block.logits is None else block.logits
        total += _stream(mode, replace(block, logits=gradient), configuration)
        _carry(replace(block, layer=replace(block.layer, weight=before)), gradient, configuration)
    return total


def _carry(work: _Work, gradient: Tensor, configuration: Configuration) -> None:
    """Add to the floats of the sums what the gradient [l, B] of the logits gives to the features."""
    assert configuration.spread is not None and work.sums is not None
    layer, (batch, width), (labels, columns) = work.layer, work.features.shape, configuration.spread
    documents = min(work.documents, SPREAD_DOCUMENTS)
    grid = triton.cdiv(width, columns), triton.cdiv(batch, documents)
    chunk = labels * triton.cdiv(len(layer) * grid[0] * grid[1], labels * _PROGRAMS)
    chunks = triton.cdiv(len(layer), chunk)
    partial = gradient.new_empty(chunks, batch, width, dtype=torch.float32)
    scratch = gradient.new_empty(chunks * grid[0] * grid[1], labels, columns, dtype=torch.float32)
    triton_kernels.carry[(*grid, chunks)](
        *(gradient.to(work.features.dtype).contiguous(), layer.index, layer.weight, scratch, partial),
        *(len(layer), chunk, width, batch, layer.fan_in, layer.n_active, layer.group_size),
        L=labels,
        B=documents,
        D=columns,
        K=SLOTS,
        num_warps=SPREAD_WARPS,
        num_stages=1,
    )
    work.sums.floats += partial.sum(0)


def _stream(mode: str, work: _Work, configuration: Configuration) -> Tensor:
    layer, targets, logits, sums, update = work.layer, work.targets, work.logits, work.sums, work.update
    n_labels, size = len(layer), layer.group_size
    tile = configuration.labels if size == 1 else size
    n_tiles = triton.cdiv(n_labels, tile)
    losses = torch.zeros(n_tiles, dtype=torch.float32, device=work.features.device)
    nothing = losses
    stepping: tuple[float, float, int, int] = (0.0, 1.0, 0, 0)
    if update:
        decay, key = 1 - update.lr * update.weight_decay, stream_key(update.seed, update.step)
        stepping = (update.lr, decay, key, layer.label_offset)
    arguments: tuple[Any, ...] = (
        *(work.features.T.contiguous(), layer.index, layer.weight, layer.bias),
        targets.starts(n_labels, tile) if targets else nothing,
        targets.labels if targets else nothing,
        targets.documents if targets else nothing,
        nothing if logits is None else logits,
        0 if logits is None else logits.stride(0),
        sums.integers if sums else nothing,
        sums.scale if sums else nothing,
        *(work.grads or (nothing, nothing)),
        nothing if work.applies is None else work.applies,
        *(losses, n_labels, len(work.features), layer.fan_in, layer.n_active, work.scale, *stepping, size),
    )
    triton_kernels.stream[(n_tiles,)](
        *arguments,
        MODE=MODES[mode],
        IN_PLACE=update is not None,
        GROUPED=size > 1,
        ADDS=configuration.spread is None,
        L=configuration.labels,
        B=work.documents,
        K=SLOTS,
        num_warps=configuration.warps,
        num_stages=1,
    )
    return losses.sum(dtype=torch.float64)


def configurations(size: int, documents: int, dtype: torch.dtype, *, carries: bool = True) -> list[Configuration]:
    """Those worth trying for groups of `size` labels and a padded number of documents; the first is a safe choice.

    It gives a program as many labels and as few warps as registers hold without spilling. With 16 warps a thread has
    128 registers, too few for most groups. carries: whether the gradient of the features is asked for, which those
    called densified sum without atomic adds.
    """
    narrow = dtype == torch.bfloat16
    if size == 1:
        labels = max(1, (_TILE if narrow else _TILE // 2) // documents)
        plain = [
            Configuration("plain", labels, 4),
            Configuration("plain, twice the warps", labels, 8),
            *([Configuration("plain, twice both", 2 * labels, 8)] if not narrow else []),
            *([Configuration("plain, half the labels", labels // 2, 4)] if labels > 1 else []),
        ]
        spreads = [(64, 128), (32, 64)] if narrow else [(16, 64)]
        named = [(f"densified, {columns} columns", (rows, columns)) for rows, columns in spreads]
        return plain + [Configuration(name, labels, 4, spread) for name, spread in named if carries]
    labels = _padded(size)
    numbers = labels * documents
    fewest, a_warp = (4, 1024) if narrow else (8, 512)  # with tensor cores, and without them
    warps = min(16, max(fewest, numbers // a_warp))
    return [
        Configuration("groups", labels, warps),
        *([Configuration("groups, twice the warps", labels, 2 * warps)] if warps < 8 else []),
    ]


def _padded(size: int) -> int:
    """Labels of a tile for groups of so many: `tl.dot` takes powers of two from 16 on."""
    return max(16, int(triton.next_power_of_2(size)))
