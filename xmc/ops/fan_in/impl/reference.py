"""The specification: densify a block of labels, multiply. Any device, any floating type.

Every other back end is tested against it. Half precision multiplies as it is; sums over blocks and the loss are
float32.
"""

import torch
from torch import Tensor

from xmc.ops.blocks import group_size, label_blocks, label_columns, label_slices
from xmc.ops.losses import loss_and_gradient_, wide
from xmc.ops.random import rounded
from xmc.ops.topk import StreamingTopK
from xmc.types import LossName, Positives, StepOutput, TopK

CHECKS_COLUMNS = False

_BLOCK = 1024


def lacks(device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
    """What is missing to serve features and weights of these types on this device, or None."""
    return None


def linear(features: Tensor, weight: Tensor, index: Tensor, bias: Tensor) -> Tensor:
    """Logits [B, L], in the precision that losses use."""
    size = group_size(len(weight), len(index))
    return torch.cat(
        [
            _logits(features, _dense(features, weight[s], label_columns(index, s, size)), bias[s])
            for s in label_slices(len(weight), _BLOCK)
        ],
        dim=1,
    )


def linear_backward(gradient: Tensor, features: Tensor, weight: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of features, weight and bias from the gradient [B, L] of the logits."""
    grad_features = torch.zeros_like(features, dtype=wide(features))
    grad_weight, size = torch.empty_like(weight), group_size(len(weight), len(index))
    for s in label_slices(len(weight), _BLOCK):
        block_gradient, columns = gradient[:, s].to(features.dtype), label_columns(index, s, size)
        grad_features += block_gradient @ _dense(features, weight[s], columns)
        grad_weight[s] = (block_gradient.T @ features).gather(1, columns.long())
    return grad_features.to(features.dtype), grad_weight, gradient.sum(0).to(wide(weight))


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
    total = torch.zeros((), dtype=torch.float64, device=features.device)
    grad_features = torch.zeros_like(features, dtype=wide(features))
    grad_weight, grad_bias = torch.empty_like(weight, dtype=wide(weight)), torch.empty_like(bias)
    size = group_size(len(weight), len(index))
    for block in label_blocks(positives, label_offset, len(weight), _BLOCK):
        s = block.labels
        columns = label_columns(index, s, size)
        dense = _dense(features, weight[s, :active], columns[:, :active])
        logits = _logits(features, dense, bias[s])
        losses, gradient = loss_and_gradient_(logits, (block.document, block.label), loss)
        total += losses.sum() / len(features)
        gradient = gradient / len(features)
        grad_bias[s] = gradient.sum(0)
        gradient = gradient.to(features.dtype)
        grad_features += gradient @ dense
        grad_weight[s] = (gradient.T @ features).gather(1, columns.long())
    return StepOutput(total.to(wide(features)), grad_features.to(features.dtype), grad_weight, grad_bias)


def sgd_step(
    features: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor,
    positives: Positives,
    loss_name: LossName,
    lr: float,
    weight_decay: float,
    label_offset: int,
    active: int,
    rounding: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of the features; see `xmc.ops.fan_in.fan_in_sgd_step`."""
    out = loss(features, weight, index, bias, positives, loss_name, label_offset, active)
    stepped = weight.to(wide(weight)) * (1 - lr * weight_decay) - lr * out.grad_weight
    weight.copy_(rounded(stepped, weight.dtype, rounding, label_offset))
    bias.sub_(out.grad_bias, alpha=lr)
    return out.loss, out.grad_features


def topk(features: Tensor, weight: Tensor, index: Tensor, bias: Tensor, k: int, label_offset: int, active: int) -> TopK:
    """The k best labels; see `xmc.ops.fan_in.fan_in_topk`."""
    best, size = StreamingTopK(k), group_size(len(weight), len(index))
    for s in label_slices(len(weight), _BLOCK):
        dense = _dense(features, weight[s, :active], label_columns(index, s, size)[:, :active])
        best.add(_logits(features, dense, bias[s]), label_offset + s.start)
    return best.result()


def _dense(features: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    """The weight [l, K] of a block spread over [l, D]; repeated columns add up."""
    dense = features.new_zeros(len(weight), features.shape[1])
    return dense.scatter_add_(1, index.long(), weight.to(features.dtype))


def _logits(features: Tensor, dense: Tensor, bias: Tensor) -> Tensor:
    return (features @ dense.T).to(wide(features)) + bias
