"""Losses over a block of logits, in place.

Both losses are a function phi of the margin violation m = -y z, with y = +-1: softplus(m) for binary cross-entropy and
max(0, 1 + m)^2 for the squared hinge. So a block is treated as if it held only negatives (m = z), after the sign of the
few positives was turned, and their gradient is turned back. No term overflows, for any finite logit.
"""

from typing import get_args

import torch
from torch import Tensor

from xmc.values import LossName

LOSSES: tuple[LossName, ...] = get_args(LossName)


def loss_and_gradient_(logits: Tensor, positives: tuple[Tensor, Tensor], loss: LossName) -> tuple[Tensor, Tensor]:
    """Loss of each row of a block, and the gradient of their sum.

    logits: [R, C], float32 or float64; overwritten. positives: row and column of each positive, int64 [p] each.
    Rows may be labels or documents.

    Returns the loss [R], summed over columns, and d loss / d logits [R, C] in the memory of `logits`. The loss is
    summed row by row so that the order of summation does not depend on the number of threads.
    """
    logits[positives] = -logits[positives]
    if loss == "bce":
        # Beyond 40, softplus(m) is m and the sigmoid 1, to the last bit of either precision. Unlike the fused
        # operators, exp and log1p treat an element alike wherever the threads' shares of the block begin and end.
        beyond = (logits - 40.0).clamp_(min=0.0)
        odds = logits.clamp_(max=40.0).exp_()
        rows = beyond.add_(odds.log1p()).sum(1)
        gradient = odds.div_(odds + 1.0)
    else:
        gradient = logits.add_(1.0).clamp_(min=0.0)
        rows = gradient.square().sum(1)
        gradient.mul_(2.0)
    gradient[positives] = -gradient[positives]
    return rows, gradient


def wide(tensor: Tensor) -> torch.dtype:
    """The type that logits, losses and sums have when the operands are like `tensor`: at least float32."""
    return torch.promote_types(tensor.dtype, torch.float32)
