"""Output layers. Both stream over the labels: neither a B x L nor, for the sparse one, an L x D tensor exists."""

import math

import torch
from torch import Tensor, nn

from xmc.ops.dense import dense_loss, dense_topk
from xmc.ops.fan_in import fan_in_loss, fan_in_topk
from xmc.types import LossName, Positives, StepOutput, TopK


class Classifier(nn.Module):
    """Logits of L labels from features [B, D], never held all at once.

    `step` leaves the gradients of its own weights in `.grad` and returns that of the features: the caller carries it
    into the encoder's autograd graph.
    """

    kind: str

    def __init__(self, in_features: int, weight: Tensor) -> None:
        super().__init__()
        self.in_features = in_features
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(weight.shape[0]))

    @property
    def num_labels(self) -> int:
        return self.weight.shape[0]

    def step(self, features_BD: Tensor, positives: Positives, loss: LossName, scale: float = 1.0) -> StepOutput:
        """Loss (summed over labels, averaged over documents) and gradients.

        scale: weight of this loss in the total; it multiplies the gradients, not the reported loss.
        """
        out = self._loss(features_BD, positives, loss)
        if scale != 1.0:
            for gradient in (out.grad_weight, out.grad_bias, out.grad_features):
                gradient.mul_(scale)
        self.weight.grad, self.bias.grad = out.grad_weight, out.grad_bias
        return out

    @torch.no_grad()
    def init_bias(self, label_counts: Tensor, num_documents: int, loss: LossName) -> None:
        """Start at each label's frequency: its log-odds for BCE, 2p - 1 for the squared hinge."""
        p = (label_counts.double() + 0.5) / (num_documents + 1)
        self.bias.copy_(torch.logit(p) if loss == "bce" else 2 * p - 1)

    def topk(self, features_BD: Tensor, k: int) -> TopK:
        raise NotImplementedError

    def _loss(self, features_BD: Tensor, positives: Positives, loss: LossName) -> StepOutput:
        raise NotImplementedError


class FixedFanIn(Classifier):
    """K incoming connections a label: weight [L, K], index [L, K] (which features), bias [L].

    Weights start uniform in +-1/sqrt(K) ("Navigating Extremes", NeurIPS 2024, section 3.1).
    """

    kind = "fixed_fan_in"
    index: Tensor

    def __init__(self, in_features: int, index_LK: Tensor, *, backend: str, generator: torch.Generator) -> None:
        num_labels, fan_in = index_LK.shape
        bound = 1 / math.sqrt(fan_in)
        super().__init__(in_features, torch.empty(num_labels, fan_in).uniform_(-bound, bound, generator=generator))
        self.register_buffer("index", index_LK)
        self.backend = backend

    @property
    def fan_in(self) -> int:
        return self.weight.shape[1]

    def topk(self, features_BD: Tensor, k: int) -> TopK:
        return fan_in_topk(features_BD, self.weight, self.index, self.bias, k, backend=self.backend)

    def _loss(self, features_BD: Tensor, positives: Positives, loss: LossName) -> StepOutput:
        return fan_in_loss(features_BD, self.weight, self.index, self.bias, positives, loss, backend=self.backend)


class Dense(Classifier):
    """Every label sees every feature: weight [L, D], bias [L]. The baseline, and the auxiliary head."""

    kind = "dense"

    def __init__(self, in_features: int, num_labels: int, *, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(in_features)
        super().__init__(in_features, torch.empty(num_labels, in_features).uniform_(-bound, bound, generator=generator))

    def topk(self, features_BD: Tensor, k: int) -> TopK:
        return dense_topk(features_BD, self.weight, self.bias, k)

    def _loss(self, features_BD: Tensor, positives: Positives, loss: LossName) -> StepOutput:
        return dense_loss(features_BD, self.weight, self.bias, positives, loss)
