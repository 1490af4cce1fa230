"""Checks at the door of the ops: a `ValueError` names the argument, what was expected and what came."""

import ctypes
import os
from collections.abc import Iterable
from itertools import combinations
from numbers import Real
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from xmc.ops.losses import LOSSES, wide
from xmc.types import FanIn, InPlaceUpdate, Positives


def index_dtype(in_features: int) -> torch.dtype:
    """Narrowest type of the column index: int16 while D <= 32767, else int32."""
    return torch.int16 if in_features <= torch.iinfo(torch.int16).max else torch.int32


def check_fan_in(features: Tensor, layer: FanIn) -> None:
    """Check features [B, D] and the layer against each other."""
    check_features(features)
    check_weight(features, layer.weight, layer.bias)
    n_labels, in_features = len(layer), features.shape[1]
    if layer.fan_in > in_features:
        _fail("weight", f"fan-in K <= D = {in_features}", f"K = {layer.fan_in}")
    _check_tensor("index", layer.index, (None, layer.fan_in), [index_dtype(in_features)], features.device)
    n_groups = len(layer.index)
    if n_groups > n_labels or -(-n_labels // layer.group_size) != n_groups:
        _fail("index", f"a row for each of the {n_labels} labels, or for each group of n of them", f"{n_groups} rows")
    if layer.active is not None:
        check_integer("active", layer.active, 1, layer.fan_in)
    check_label_offset(layer.label_offset, n_labels)
    low, high = torch.stack(layer.index.aminmax()).tolist()
    if low < 0 or high >= in_features:
        _fail("index", f"columns in [0, {in_features})", f"columns from {low} to {high}")


def check_distinct_columns(index: Tensor, in_features: int) -> None:
    """Check that the columns lie in [0, D) and that none is twice in a row. The index is on the CPU."""
    from xmc.ops.fan_in.impl.fused_cpu import first_unlike

    row = first_unlike(index.numpy(), np.full(in_features, -1))
    if row >= 0:
        _fail("index", f"columns in [0, {in_features}), each once in a row", f"row {row}: {index[row].tolist()[:8]}...")


def check_features(features: Tensor) -> None:
    """Check features [B, D]."""
    _check_tensor("features", features, (None, None), _FLOATING, features.device)


def check_weight(features: Tensor, weight: Tensor, bias: Tensor, columns: int | None = None) -> None:
    """Check weight [L, columns] (any number of columns if None) and bias [L]."""
    _check_tensor("weight", weight, (None, columns), _FLOATING, features.device)
    _check_tensor("bias", bias, (weight.shape[0],), [wide(weight)], features.device)


def check_positives(positives: Positives, n_documents: int, device: torch.device) -> None:
    """Check a CSR of global label ids: one row a document, no negative label.

    A label beyond the served range is no error: it belongs to another shard. What is `checked` already is not looked
    through again.
    """
    if len(positives) != n_documents:
        _fail("positives", f"one row for each of the {n_documents} documents", f"{len(positives)} rows")
    for name, tensor in (("positives.offsets", positives.offsets), ("positives.labels", positives.labels)):
        _check_tensor(name, tensor, (None,), [torch.int64], device, allow_empty=True)
    if positives.checked:
        return
    offsets, labels = positives.offsets, positives.labels
    least = [numbers.min() if len(numbers) else numbers.new_zeros(()) for numbers in (offsets.diff(), labels)]
    first, last, step, label = torch.stack([offsets[0], offsets[-1], *least]).tolist()
    if first != 0 or last != len(labels) or step < 0:
        _fail("positives.offsets", f"an ascending run from 0 to {len(labels)}", f"{offsets.tolist()[:8]}...")
    if label < 0:
        _fail("positives.labels", "labels >= 0", f"label {label}")


def check_loss(loss: str) -> None:
    """Check the name of a loss."""
    if loss not in LOSSES:
        _fail("loss", " or ".join(LOSSES), repr(loss))


def check_integer(name: str, value: int, low: int, high: int | None = None) -> None:
    """Check that a count lies in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        _fail(name, f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]", repr(value))


def check_label_offset(label_offset: int, n_labels: int) -> None:
    """Check that the global ids of a shard are integers of 64 bits."""
    check_integer("label_offset", label_offset, 0, 2**63 - n_labels)


def check_rate(name: str, value: float) -> None:
    """Check that a rate is a number >= 0 that float32 holds."""
    if not (isinstance(value, Real) and 0 <= value <= _LARGEST):
        _fail(name, f"a finite number >= 0, at most {_LARGEST:.2g}", repr(value))


def check_update(update: InPlaceUpdate) -> None:
    """Check what an update in place is told beside its gradient."""
    check_rate("lr", update.lr)
    check_rate("weight_decay", update.weight_decay)
    check_rate("lr * weight_decay", update.lr * update.weight_decay)
    check_integer("seed", update.seed, 0, 2**64 - 1)
    check_integer("step", update.step, 0, 2**64 - 1)


def check_written(written: dict[str, Tensor], read: dict[str, Tensor]) -> None:
    """Check that the tensors written in place lie in memory of their own, and that it may be written."""
    others = [*combinations(written.items(), 2), *((one, other) for one in written.items() for other in read.items())]
    for (name, tensor), (other_name, other) in others:
        start, other_start = tensor.data_ptr(), other.data_ptr()
        if start < other_start + other.nbytes and other_start < start + tensor.nbytes:
            _fail(name, f"memory of its own, since it is written in place; give a clone of {other_name}", "one with it")
    for name, tensor in written.items():
        if tensor.device.type == "cpu" and not _may_be_written(tensor.data_ptr()):
            _fail(name, "memory that may be written; give a clone", "a tensor mapped read-only")


def _may_be_written(address: int) -> bool:
    """Whether the system takes a byte of this process's memory for writing, asked with the byte that stands there."""
    byte = (ctypes.c_char * 1).from_address(address)
    reader, writer = os.pipe()
    try:
        os.write(writer, bytes(byte))
        return os.readv(reader, [byte]) == 1
    except OSError:  # EFAULT
        return False
    finally:
        os.close(reader)
        os.close(writer)


_LARGEST = torch.finfo(torch.float32).max
_FLOATING = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def _check_tensor(
    name: str,
    tensor: Tensor,
    shape: tuple[int | None, ...],
    dtypes: Iterable[torch.dtype],
    device: torch.device,
    *,
    allow_empty: bool = False,
) -> None:
    if tensor.dim() != len(shape):
        _fail(name, f"rank {len(shape)}", f"shape {tuple(tensor.shape)}")
    if any(want is not None and want != have for want, have in zip(shape, tensor.shape, strict=True)):
        _fail(name, f"shape {tuple('any' if want is None else want for want in shape)}", f"{tuple(tensor.shape)}")
    if not allow_empty and not tensor.numel():
        _fail(name, "at least one row and one column", f"shape {tuple(tensor.shape)}")
    if tensor.dtype not in dtypes:
        _fail(name, " or ".join(str(dtype) for dtype in dtypes), str(tensor.dtype))
    if tensor.device != device:
        _fail(name, f"the device of the features, {device}", str(tensor.device))
    if not tensor.is_contiguous():
        _fail(name, "a contiguous tensor", f"strides {tensor.stride()}")


def _fail(name: str, expected: str, got: str) -> NoReturn:
    raise ValueError(f"{name}: expected {expected}, got {got}")
