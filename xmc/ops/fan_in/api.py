"""The fixed fan-in op: L labels, each connected to K of D features.

Shapes: features [B, D]; weight [L, K]; index [G, K], the columns in [0, D), int16 while D <= 32767, else int32;
bias [L], float32 beside weights of half precision, else of their type. G = L gives each label columns of its own; a
smaller G gives each group of n labels the same ones, where label l belongs to group l // n and only the last group may
be smaller. A column that a row repeats counts as often. All tensors are contiguous and on one device; features may be
of another floating type than the weights.

`label_offset` is the global id of the first label, for a shard of the labels. `active` lets only the first so many
slots of a row enter the output and the gradient of the features, while the weight gradient covers all K (the sets A
and B of Top-KAST, arXiv 2106.03517). `backend` is a name or "auto"; see `resolve_backend`. Every function raises
ValueError, naming the argument, for what it cannot take.
"""

import functools
import importlib
from typing import Any

import torch
from torch import Tensor

from xmc.ops.fan_in.validation import (
    check_columns,
    check_fan_in,
    check_integer,
    check_label_offset,
    check_loss,
    check_positives,
    check_update,
    check_written,
)
from xmc.ops.losses import wide
from xmc.types import LossName, Positives, StepOutput, TopK

# In order of preference. Each is a module of `impl`, imported when it is first asked for.
BACKENDS = ("numba", "triton", "torch", "reference")


def resolve_backend(
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    requested: str = "auto",
    *,
    weight_dtype: torch.dtype | None = None,
) -> tuple[str, dict[str, str]]:
    """The back end that serves features of this device and type, and why the ones before it do not.

    weight_dtype: type of the weights, where it is another.

    Raises:
        ValueError: the back end requested by name is unknown or cannot serve; the message says what it lacks.
    """
    if requested != "auto" and requested not in BACKENDS:
        raise ValueError(f"backend: expected auto or one of {', '.join(BACKENDS)}, got {requested!r}")
    passed_over: dict[str, str] = {}
    for name in BACKENDS if requested == "auto" else (requested,):
        try:
            reason = _module(name).lacks(torch.device(device), dtype, weight_dtype or dtype)
        except ModuleNotFoundError as missing:
            reason = f"{missing.name} is not installed"
        if reason is None:
            return name, passed_over
        passed_over[name] = reason
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items())
    types = f"{dtype}" if weight_dtype in (None, dtype) else f"{dtype} with weights of {weight_dtype}"
    raise ValueError(f"backend: {requested!r} cannot serve {types} on {device} ({reasons})")


def fan_in_linear(
    features_BD: Tensor, weight_LK: Tensor, index_GK: Tensor, bias_L: Tensor, *, backend: str = "auto"
) -> Tensor:
    """Logits [B, L] of the features' type, with autograd for features, weight and bias. It holds B x L: for small L."""
    check_fan_in(features_BD, weight_LK, index_GK, bias_L)
    serving = _reading(backend, features_BD, weight_LK, index_GK)
    logits: Tensor = _Linear.apply(features_BD, weight_LK, index_GK, bias_L, serving)
    return logits


@torch.no_grad()
def fan_in_loss(
    features_BD: Tensor,
    weight_LK: Tensor,
    index_GK: Tensor,
    bias_L: Tensor,
    positives: Positives,
    loss: LossName,
    *,
    label_offset: int = 0,
    active: int | None = None,
    backend: str = "auto",
) -> StepOutput:
    """Loss, summed over labels and averaged over documents, and the gradients of features, weight and bias.

    positives: global label ids; those outside of [label_offset, label_offset + L) belong to other shards and are left
    out. Binary cross-entropy, or the squared hinge max(0, 1 - y z)^2 with y = +-1. Never holds B x L or L x D.
    """
    check_fan_in(features_BD, weight_LK, index_GK, bias_L)
    check_columns(index_GK, features_BD.shape[1])
    check_positives(positives, len(features_BD), features_BD.device)
    check_loss(loss)
    check_label_offset(label_offset, len(weight_LK))
    output: StepOutput = _serving(backend, features_BD, weight_LK).loss(
        features_BD, weight_LK, index_GK, bias_L, positives, loss, label_offset, _active(active, weight_LK)
    )
    return output


@torch.no_grad()
def fan_in_sgd_step(
    features_BD: Tensor,
    weight_LK: Tensor,
    index_GK: Tensor,
    bias_L: Tensor,
    positives: Positives,
    loss: LossName,
    *,
    lr: float,
    weight_decay: float = 0.0,
    label_offset: int = 0,
    active: int | None = None,
    seed: int = 0,
    step: int = 0,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """One step of stochastic gradient descent on weight and bias, in place; returns loss and gradient of the features.

    weight *= 1 - lr * weight_decay, then weight -= lr * its gradient; the bias does not decay. The loss and the
    gradient of the features are those of `fan_in_loss` before the step. Holds no L x K gradient either (but for the
    back end `reference`). If features, weight or bias are not finite, both results are NaN and nothing is updated.

    A bfloat16 weight is updated in float32 and rounded stochastically; `seed` and `step` choose the random numbers,
    which depend on nothing else but label and slot.
    """
    check_fan_in(features_BD, weight_LK, index_GK, bias_L)
    check_columns(index_GK, features_BD.shape[1])
    check_positives(positives, len(features_BD), features_BD.device)
    check_loss(loss)
    check_update(lr, weight_decay, seed, step)
    check_label_offset(label_offset, len(weight_LK))
    check_written({"weight": weight_LK, "bias": bias_L}, {"features": features_BD, "index": index_GK})
    if not all(_finite(tensor) for tensor in (features_BD, weight_LK, bias_L)):
        return features_BD.new_full((), torch.nan, dtype=wide(features_BD)), torch.full_like(features_BD, torch.nan)
    layer = (features_BD, weight_LK.detach(), index_GK, bias_L.detach())
    output: tuple[Tensor, Tensor] = _serving(backend, features_BD, weight_LK).sgd_step(
        *layer, positives, loss, lr, weight_decay, label_offset, _active(active, weight_LK), (seed, step)
    )
    return output


@torch.no_grad()
def fan_in_topk(
    features_BD: Tensor,
    weight_LK: Tensor,
    index_GK: Tensor,
    bias_L: Tensor,
    k: int,
    *,
    label_offset: int = 0,
    active: int | None = None,
    backend: str = "auto",
) -> TopK:
    """The k best labels of each document, as global ids. Never holds B x L or L x D."""
    check_fan_in(features_BD, weight_LK, index_GK, bias_L)
    serving = _reading(backend, features_BD, weight_LK, index_GK)
    check_integer("k", k, 1, 2**31 - 1)
    check_label_offset(label_offset, len(weight_LK))
    best: TopK = serving.topk(features_BD, weight_LK, index_GK, bias_L, k, label_offset, _active(active, weight_LK))
    return best


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, index: Tensor, bias: Tensor, backend: Any) -> Tensor:
        ctx.save_for_backward(features, weight, index)
        ctx.backend = backend
        return backend.linear(features, weight, index, bias).to(features.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        grad_features, grad_weight, grad_bias = ctx.backend.linear_backward(gradient, *ctx.saved_tensors)
        return grad_features, grad_weight.to(ctx.saved_tensors[1].dtype), None, grad_bias, None


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(torch.stack(tensor.aminmax())).all())


def _active(active: int | None, weight: Tensor) -> int:
    fan_in = weight.shape[1]
    if active is None:
        return fan_in
    check_integer("active", active, 1, fan_in)
    return active


def _reading(backend: str, features: Tensor, weight: Tensor, index: Tensor) -> Any:
    """The back end for a function that reads alone: its columns are checked, or it checks them itself as it reads."""
    serving = _serving(backend, features, weight)
    if not serving.CHECKS_COLUMNS:
        check_columns(index, features.shape[1])
    return serving


def _serving(backend: str, features: Tensor, weight: Tensor) -> Any:
    return _resolved(backend, features.device, features.dtype, weight.dtype)


@functools.cache
def _resolved(backend: str, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> Any:
    name, _ = resolve_backend(device, dtype, backend, weight_dtype=weight_dtype)
    return _module(name)


def _module(name: str) -> Any:
    return importlib.import_module(f"xmc.ops.fan_in.impl.{name}")
