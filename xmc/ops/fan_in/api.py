"""The fixed fan-in op over a `FanIn`: features [B, D], contiguous, of any floating type, and the layer on one device.

`backend` is a name or "auto"; see `resolve_backend`. Every function raises ValueError, naming the argument, for what it
cannot take. Columns of the index are checked once, and again after torch has changed it in place; a change that torch
does not see, such as through NumPy, may not bring columns from outside of [0, D).
"""

import functools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from xmc.ops.fan_in.backend import Backend
from xmc.ops.fan_in.validation import (
    check_fan_in,
    check_integer,
    check_loss,
    check_positives,
    check_update,
    check_written,
)
from xmc.ops.losses import LOSSES, wide
from xmc.types import FanIn, InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

# Of each index that was checked: what it, the layer and the features then were.
_CHECKED = WeakTensorKeyDictionary()

BACKENDS = ("numba", "triton", "torch", "reference")  # in order of preference


def resolve_backend(
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    requested: str = "auto",
    *,
    weight_dtype: torch.dtype | None = None,
) -> tuple[str, dict[str, str]]:
    """The back end that serves features of this device and type, and why the ones before it do not.

    Where `auto` gives `triton`, a call takes `torch` instead if that is measured to be faster.

    weight_dtype: type of the weights, where it is another.

    Raises:
        ValueError: the back end requested by name is unknown or cannot serve; the message says what it lacks.
    """
    if requested != "auto" and requested not in BACKENDS:
        raise ValueError(f"backend: expected auto or one of {', '.join(BACKENDS)}, got {requested!r}")
    passed_over: dict[str, str] = {}
    for name in BACKENDS if requested == "auto" else (requested,):
        try:
            reason = _named(name).lacks(torch.device(device), dtype, weight_dtype or dtype)
        except ModuleNotFoundError as missing:
            reason = f"{missing.name} is not installed"
        if reason is None:
            return name, passed_over
        passed_over[name] = reason
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items())
    types = f"{dtype}" if weight_dtype in (None, dtype) else f"{dtype} with weights of {weight_dtype}"
    raise ValueError(f"backend: {requested!r} cannot serve {types} on {device} ({reasons})")


def fan_in_linear(features_BD: Tensor, layer: FanIn, *, backend: str = "auto") -> Tensor:
    """Logits [B, L] of the features' type, with autograd for features, weight and bias. It holds B x L: for small L."""
    serving = _serving(backend, features_BD, layer)
    logits: Tensor = _Linear.apply(features_BD, layer.weight, layer.bias, layer, serving)
    return logits


@torch.no_grad()
def fan_in_loss(
    features_BD: Tensor, layer: FanIn, positives: Positives, loss: LossName, *, backend: str = "auto"
) -> StepOutput:
    """Loss, summed over labels and averaged over documents, and the gradients of features, weight and bias.

    positives: global label ids; those outside of [label_offset, label_offset + L) belong to other shards and are left
    out. Binary cross-entropy, or the squared hinge max(0, 1 - y z)^2 with y = +-1. Never holds B x L or L x D.
    """
    serving = _serving(backend, features_BD, layer)
    _check_targets(features_BD, positives, loss)
    return serving.loss(features_BD, layer, positives, loss)


@torch.no_grad()
def fan_in_sgd_step(
    features_BD: Tensor,
    layer: FanIn,
    positives: Positives,
    loss: LossName,
    update: InPlaceUpdate,
    *,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """One step of stochastic gradient descent on weight and bias, in place; returns loss and gradient of the features.

    weight *= 1 - lr * weight_decay, then weight -= lr * its gradient; the bias does not decay. The loss and the
    gradient of the features are those of `fan_in_loss` before the step. Holds no L x K gradient either (but for the
    back end `reference`). If features, weight or bias are not finite, both results are NaN and nothing is updated.

    A bfloat16 weight is updated in float32 and rounded stochastically; `seed` and `step` choose the random numbers,
    which depend on nothing else but label and slot.
    """
    serving = _serving(backend, features_BD, layer)
    _check_targets(features_BD, positives, loss)
    check_update(update)
    check_written({"weight": layer.weight, "bias": layer.bias}, {"features": features_BD, "index": layer.index})
    finite = _finite(features_BD, layer.weight, layer.bias)
    here = features_BD.device.type == "cpu"
    if here and not finite:
        return features_BD.new_full((), torch.nan, dtype=wide(features_BD)), torch.full_like(features_BD, torch.nan)
    layer = replace(layer, weight=layer.weight.detach(), bias=layer.bias.detach())
    if here:
        return serving.sgd_step(features_BD, layer, positives, loss, update, None)
    total, grad_features = serving.sgd_step(features_BD, layer, positives, loss, update, finite)
    return total.masked_fill(~finite, torch.nan), grad_features.masked_fill(~finite, torch.nan)


@torch.no_grad()
def fan_in_topk(features_BD: Tensor, layer: FanIn, k: int, *, backend: str = "auto") -> TopK:
    """The k best labels of each document, as global ids. Never holds B x L or L x D."""
    serving = _serving(backend, features_BD, layer)
    check_integer("k", k, 1, 2**31 - 1)
    return serving.topk(features_BD, layer, k)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, layer: FanIn, backend: Backend) -> Tensor:
        ctx.save_for_backward(features, weight, layer.index, bias)
        ctx.active, ctx.backend = layer.active, backend
        return backend.linear(features, layer).to(features.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, index, bias = ctx.saved_tensors
        backend: Backend = ctx.backend
        grads = backend.linear_backward(gradient, features, FanIn(weight, index, bias, ctx.active))
        return grads[0], grads[1].to(weight.dtype), grads[2], None, None


def _finite(*tensors: Tensor) -> Tensor:
    """Whether all numbers are, a scalar on their device."""
    return torch.stack([torch.isfinite(bound) for tensor in tensors for bound in tensor.aminmax()]).all()


@functools.cache
def _resolved(backend: str, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> Backend:
    name, _ = resolve_backend(device, dtype, backend, weight_dtype=weight_dtype)
    if (backend, name) == ("auto", "triton"):
        from xmc.ops.fan_in.impl.measured import MeasuredBackend

        return MeasuredBackend({name: _named(name) for name in ("triton", "torch")})
    return _named(name)


def _serving(backend: str, features: Tensor, layer: FanIn) -> Backend:
    """The back end for features and layer, which are checked unless they are as they were when they fitted."""
    if layer.index.is_inference():  # of which no version tells whether it was changed
        check_fan_in(features, layer)
    elif _CHECKED.get(layer.index) != (state := _state(features, layer)):
        check_fan_in(features, layer)
        _CHECKED[layer.index] = state
    return _resolved(backend, features.device, features.dtype, layer.weight.dtype)


def _state(features: Tensor, layer: FanIn) -> tuple[object, ...]:
    """All that decides whether features and layer fit, but for what torch does not see."""
    index, tensors = layer.index, (features, layer.weight, layer.index, layer.bias)
    shapes = features.shape[1:], features.numel() > 0, layer.weight.shape, index.shape, layer.bias.shape
    forms = [(tensor.dtype, tensor.device, tensor.is_contiguous()) for tensor in tensors]
    return index._version, index.data_ptr(), shapes, forms, layer.active, layer.label_offset, layer.labels_a_group


def _check_targets(features: Tensor, positives: Positives, loss: LossName) -> None:
    """Check what is not known to fit."""
    known = positives.checked and len(positives) == len(features) and positives.labels.device == features.device
    if not (known and loss in LOSSES):
        check_positives(positives, len(features), features.device)
        check_loss(loss)


def _named(name: str) -> Backend:
    """The back end, whose module is imported when it is first asked for."""
    if name == "numba":
        from xmc.ops.fan_in.impl.fused_cpu import NumbaBackend

        return NumbaBackend()
    if name == "triton":
        from xmc.ops.fan_in.impl.fused_gpu import TritonBackend

        return TritonBackend()
    if name == "torch":
        from xmc.ops.fan_in.impl.blockwise import TorchBackend

        return TorchBackend()
    from xmc.ops.fan_in.impl.reference import ReferenceBackend

    return ReferenceBackend()
