"""The dense baseline, weight [L, D], behind the functions of the fixed fan-in op, a block of labels at a time."""

import torch
from torch import Tensor

from xmc.ops.blocks import label_blocks, label_slices
from xmc.ops.fan_in.validation import (
    check_features,
    check_integer,
    check_label_offset,
    check_loss,
    check_positives,
    check_weight,
)
from xmc.ops.losses import loss_and_gradient_, wide
from xmc.ops.topk import StreamingTopK
from xmc.types import Positives, StepOutput, TopK
from xmc.values import LossName

_BLOCK = 2048


@torch.no_grad()
def dense_loss(
    features_BD: Tensor,
    weight_LD: Tensor,
    bias_L: Tensor,
    positives: Positives,
    loss: LossName,
    *,
    label_offset: int = 0,
) -> StepOutput:
    """Loss and gradients as `fan_in_loss` gives them. Holds the L x D gradient of the weight, never B x L.

    Raises:
        ValueError: naming the argument.
    """
    _check(features_BD, weight_LD, bias_L)
    check_positives(positives, len(features_BD), features_BD.device)
    check_loss(loss)
    check_label_offset(label_offset, len(weight_LD))
    documents = len(features_BD)
    total = torch.zeros((), dtype=torch.float64, device=features_BD.device)
    grad_features = torch.zeros_like(features_BD, dtype=wide(features_BD))
    grad_weight, grad_bias = torch.empty_like(weight_LD), torch.empty_like(bias_L)
    for block in label_blocks(positives, label_offset, len(weight_LD), _BLOCK):
        s = block.labels
        weight = weight_LD[s].to(features_BD.dtype)
        logits = _logits(features_BD, weight, bias_L[s])
        losses, gradient = loss_and_gradient_(logits, (block.label, block.document), loss)
        total += losses.sum(dtype=torch.float64)
        gradient.div_(documents)
        grad_bias[s] = gradient.sum(1)
        gradient = gradient.to(features_BD.dtype)
        grad_features += gradient.T @ weight
        if grad_weight.dtype == features_BD.dtype:
            torch.mm(gradient, features_BD, out=grad_weight[s])
        else:
            grad_weight[s] = gradient @ features_BD
    return StepOutput(
        (total / documents).to(wide(features_BD)), grad_features.to(features_BD.dtype), grad_weight, grad_bias
    )


@torch.no_grad()
def dense_topk(features_BD: Tensor, weight_LD: Tensor, bias_L: Tensor, k: int, *, label_offset: int = 0) -> TopK:
    """The k best labels of each document, as global ids; never holds B x L.

    Raises:
        ValueError: naming the argument.
    """
    _check(features_BD, weight_LD, bias_L)
    check_integer("k", k, 1, 2**31 - 1)
    check_label_offset(label_offset, len(weight_LD))
    best = StreamingTopK(k)
    for s in label_slices(len(weight_LD), _BLOCK):
        best.add(_logits(features_BD, weight_LD[s].to(features_BD.dtype), bias_L[s]).T, label_offset + s.start)
    return best.result()


def _check(features: Tensor, weight: Tensor, bias: Tensor) -> None:
    check_features(features)
    check_weight(features, weight, bias, columns=features.shape[1])


def _logits(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Label-major logits [l, B] of a block."""
    return (weight @ features.T).to(wide(features)) + bias[:, None]
