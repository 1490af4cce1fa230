"""A linear layer inside the network in which every output has connections to a few inputs only."""

import math

import torch
from torch import Tensor, nn

from xmc.model.evidence import Evidence, Watched
from xmc.ops.fan_in import FanIn, fan_in_linear, index_dtype


class SparseLinear(nn.Module, Watched):
    """[..., in_features] -> [..., out_features], each output from `fan_in` inputs: weight and index [O, K], bias [O].

    dense_fan_in: connections an output had in the layer that this one replaces; all inputs, if None. Its evidence is
    the gradient that a dense weight would have, [O, I], which the backward passes of a batch add up.
    """

    index: Tensor

    def __init__(
        self,
        in_features: int,
        index_OK: Tensor,
        *,
        dense_fan_in: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.dense_fan_in = dense_fan_in or in_features
        bound = 1 / math.sqrt(index_OK.shape[1])
        self.weight = nn.Parameter(torch.empty(index_OK.shape).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.zeros(len(index_OK)))
        self.register_buffer("index", index_OK.to(index_dtype(in_features)).contiguous())

    @property
    def out_features(self) -> int:
        return len(self.weight)

    @property
    def active(self) -> int:
        """All slots take part in the output."""
        return self.weight.shape[1]

    def forward(self, inputs: Tensor) -> Tensor:
        """
        Raises:
            ValueError: the inputs have another width.
        """
        if inputs.shape[-1] != self.in_features:
            raise ValueError(f"inputs: expected [..., {self.in_features}], got {tuple(inputs.shape)}")
        device = inputs.device.type
        if torch.is_autocast_enabled(device):
            inputs = inputs.to(torch.get_autocast_dtype(device))
        inputs_NI = inputs.reshape(-1, self.in_features).contiguous()
        outputs_NO = fan_in_linear(inputs_NI, FanIn(self.weight, self.index, self.bias))
        if self.watches and outputs_NO.requires_grad:
            seen_NI = inputs_NI.detach()
            outputs_NO.register_hook(lambda gradient_NO: self._record(gradient_NO, seen_NI))
        return outputs_NO.contiguous().view(*inputs.shape[:-1], self.out_features)

    def _record(self, gradient_NO: Tensor, inputs_NI: Tensor) -> None:
        gradient_OI = gradient_NO.float().T @ inputs_NI.float()
        if self._evidence is not None:
            gradient_OI = self._evidence["gradient"].add_(gradient_OI)
        self._evidence = {"gradient": gradient_OI}

    def dense_gradient(self, evidence: Evidence, labels: slice) -> Tensor:
        """Gradient of the loss with respect to the weights that a run of outputs would have if dense, [o, I]."""
        return evidence["gradient"][labels]

    def gradient_at(self, evidence: Evidence, columns_OC: Tensor) -> Tensor:
        """The same for all outputs, but at the given columns alone, [O, C]."""
        return evidence["gradient"].gather(1, columns_OC.long())
