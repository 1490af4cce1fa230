"""The classifier whose labels see every feature."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from xmc.distributed import Shard
from xmc.model.classifier import LinearClassifier, adjusted_as
from xmc.model.drawing import drawn_weights
from xmc.ops.dense import dense_loss, dense_topk
from xmc.types import Positives, StepOutput, TopK
from xmc.values import LossName


class Dense(LinearClassifier):
    """Every label sees every feature: weight [L, D], bias [L]. The baseline, and the auxiliary head.

    Weights start uniform in +- `bound`, or 1/sqrt(D).
    """

    kind = "dense"

    def __init__(
        self,
        in_features: int,
        num_labels: int,
        *,
        generator: torch.Generator | None = None,
        bound: float | None = None,
        shard: Shard | None = None,
    ) -> None:
        shard = shard or Shard.whole(num_labels)
        bound = bound or 1 / math.sqrt(in_features)
        super().__init__(in_features, drawn_weights(shard, in_features, bound, generator, torch.float32), shard.start)

    def of_all(self, labels: int) -> Self:
        return adjusted_as(self, type(self)(self.in_features, labels).to(self.bias.device))

    def lists(self, features_BD: Tensor, k: int) -> Sequence[TopK]:
        return [dense_topk(features_BD, self.weight, self._ranking_bias, k, label_offset=self.label_offset)]

    def rows(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight.detach()[labels], self._ranking_bias[labels]

    def _loss(self, features_BD: Tensor, positives: Positives, loss: LossName) -> StepOutput:
        return dense_loss(features_BD, self.weight, self.bias, positives, loss, label_offset=self.label_offset)
