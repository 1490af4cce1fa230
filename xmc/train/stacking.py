"""Learning how rankings are stacked: a logistic regression with a Gaussian prior."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_STRENGTH = 10.0  # of the prior: the variance of a coefficient is its inverse
_STEPS = 30
_SMALL = 1e-4


def fitted(features: Sequence[Tensor], true: Sequence[Tensor], prior: Tensor) -> Tensor:
    """The coefficients of the largest posterior, float64 [F], by Newton's method with halved steps.

    features: float32 [candidates, F], in parts. true: bool [candidates], in the same parts. prior: float64 [F], the
    coefficients without evidence.
    """
    found = prior
    loss, gradient, curvature = _derivatives(features, true, found, prior)
    for _ in range(_STEPS):
        step = torch.linalg.solve(curvature, gradient)
        while (nearer := _derivatives(features, true, found - step, prior))[0] > loss and step.abs().max() > _SMALL:
            step = step / 2
        if step.abs().max() <= _SMALL:
            break
        found = found - step
        loss, gradient, curvature = nearer
    return found


def _derivatives(
    features: Sequence[Tensor], true: Sequence[Tensor], at: Tensor, prior: Tensor
) -> tuple[float, Tensor, Tensor]:
    """The negative log-posterior, its gradient and its Hessian."""
    away = at - prior
    loss, gradient = _STRENGTH / 2 * away @ away, _STRENGTH * away
    curvature = _STRENGTH * torch.eye(len(at), dtype=at.dtype)
    for rows, hits in zip(features, true, strict=True):
        rows, hits = rows.double(), hits.double()
        logits = rows @ at
        chance = logits.sigmoid()
        loss = loss + F.binary_cross_entropy_with_logits(logits, hits, reduction="sum")
        gradient = gradient + rows.T @ (chance - hits)
        curvature = curvature + (rows * (chance * (1 - chance))[:, None]).T @ rows
    return float(loss), gradient, curvature
