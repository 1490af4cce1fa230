"""Checks at the door of the ops: a `ValueError` names the argument, what was expected and what came."""

from collections.abc import Iterable
from typing import NoReturn

import torch
from torch import Tensor

from xmc.ops.blocks import group_size
from xmc.ops.losses import LOSSES, wide
from xmc.types import Positives


def index_dtype(in_features: int) -> torch.dtype:
    """Narrowest type of the column index: int16 while D <= 32767, else int32."""
    return torch.int16 if in_features <= torch.iinfo(torch.int16).max else torch.int32


def check_fan_in(features: Tensor, weight: Tensor, index: Tensor, bias: Tensor) -> None:
    """Check features [B, D], weight [L, K], index [G, K] and bias [L] against each other; the columns are left."""
    check_features(features)
    check_weight(features, weight, bias)
    n_labels, fan_in = weight.shape
    in_features = features.shape[1]
    if fan_in > in_features:
        _fail("weight", f"fan-in K <= D = {in_features}", f"K = {fan_in}")
    _check_tensor("index", index, (None, fan_in), [index_dtype(in_features)], features.device)
    n_groups = len(index)
    if n_groups > n_labels or -(-n_labels // group_size(n_labels, n_groups)) != n_groups:
        _fail("index", f"a row for each of the {n_labels} labels, or for each group of n of them", f"{n_groups} rows")


def check_columns(index: Tensor, in_features: int) -> None:
    """Check that the columns lie in [0, D)."""
    low, high = (int(bound) for bound in index.aminmax())
    if low < 0 or high >= in_features:
        _fail("index", f"columns in [0, {in_features})", f"columns from {low} to {high}")


def check_features(features: Tensor) -> None:
    """Check features [B, D]."""
    _check_tensor("features", features, (None, None), _FLOATING, features.device)


def check_weight(features: Tensor, weight: Tensor, bias: Tensor, columns: int | None = None) -> None:
    """Check weight [L, columns] (any number of columns if None) and bias [L]."""
    _check_tensor("weight", weight, (None, columns), _FLOATING, features.device)
    _check_tensor("bias", bias, (weight.shape[0],), [wide(weight)], features.device)


def check_positives(positives: Positives, n_documents: int, device: torch.device) -> None:
    """Check a CSR of global label ids: one row a document, no negative label.

    A label beyond the served range is no error: it belongs to another shard.
    """
    if len(positives) != n_documents:
        _fail("positives", f"one row for each of the {n_documents} documents", f"{len(positives)} rows")
    for name, tensor in (("positives.offsets", positives.offsets), ("positives.labels", positives.labels)):
        _check_tensor(name, tensor, (None,), [torch.int64], device, allow_empty=True)
    offsets, n_labels = positives.offsets, positives.labels.numel()
    if int(offsets[0]) != 0 or int(offsets[-1]) != n_labels or bool((offsets.diff() < 0).any()):
        _fail("positives.offsets", f"an ascending run from 0 to {n_labels}", f"{offsets.tolist()[:8]}...")
    if n_labels and int(positives.labels.min()) < 0:
        _fail("positives.labels", "labels >= 0", f"label {int(positives.labels.min())}")


def check_loss(loss: str) -> None:
    """Check the name of a loss."""
    if loss not in LOSSES:
        _fail("loss", " or ".join(LOSSES), repr(loss))


def check_integer(name: str, value: int, low: int, high: int | None = None) -> None:
    """Check that a count lies in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        _fail(name, f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]", repr(value))


def check_rate(name: str, value: float) -> None:
    """Check that a rate is a finite number >= 0."""
    if not 0 <= value < float("inf"):
        _fail(name, "a finite number >= 0", repr(value))


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
