"""What a back end of the op offers."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from xmc.types import FanIn, InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName


class Backend(ABC):
    """The functions of `xmc.ops.fan_in.api`, once their arguments are checked: no column lies outside the features."""

    @abstractmethod
    def lacks(self, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
        """What is missing to serve features and weights of these types on this device, or None."""

    @abstractmethod
    def linear(self, features: Tensor, layer: FanIn) -> Tensor:
        """Logits [B, L] of any strides, in the precision that losses use."""

    @abstractmethod
    def linear_backward(self, gradient: Tensor, features: Tensor, layer: FanIn) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of features, weight and bias from the gradient [B, L] of the logits."""

    @abstractmethod
    def loss(self, features: Tensor, layer: FanIn, positives: Positives, loss: LossName) -> StepOutput:
        """Loss and gradients; see `fan_in_loss`."""

    @abstractmethod
    def sgd_step(
        self,
        features: Tensor,
        layer: FanIn,
        positives: Positives,
        loss: LossName,
        update: InPlaceUpdate,
        applies: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Loss and gradient of the features; see `fan_in_sgd_step`.

        applies: whether anything is updated, a bool scalar on the device, for which the host does not wait; what is
        returned does not count where it is false. None: yes, as on a CPU.
        """

    @abstractmethod
    def topk(self, features: Tensor, layer: FanIn, k: int) -> TopK:
        """The k best labels; see `fan_in_topk`."""


def update_(tensor: Tensor, values: Tensor, applies: Tensor | None) -> None:
    """Give the tensor these values, if it `applies`; see `Backend.sgd_step`."""
    tensor.copy_(values if applies is None else values.where(applies, tensor))
