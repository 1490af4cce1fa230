"""A linear layer inside the network in which every output has connections to a few inputs only."""

import math

import torch
from torch import Tensor, nn

from xmc.ops.blocks import label_slices
from xmc.ops.fan_in import fan_in_linear, index_dtype
from xmc.types import InnerEvidence

_BLOCK = 1 << 22  # numbers of a dense gradient that exist at once


class SparseLinear(nn.Module):
    """[..., in_features] -> [..., out_features], each output from `fan_in` inputs: weight and index [O, K], bias [O].

    While `records` is set, every backward pass leaves what a strategy needs to know of connections that are not there,
    and `take_evidence` gives it.
    """

    index: Tensor

    def __init__(self, in_features: int, index_OK: Tensor, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.in_features = in_features
        bound = 1 / math.sqrt(index_OK.shape[1])
        self.weight = nn.Parameter(torch.empty(index_OK.shape).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.zeros(len(index_OK)))
        self.register_buffer("index", index_OK.to(index_dtype(in_features)).contiguous())
        self.records = False
        self._seen: list[InnerEvidence] = []

    @property
    def out_features(self) -> int:
        return len(self.weight)

    @property
    def active(self) -> int:
        """All slots take part in the output."""
        return self.weight.shape[1]

    def forward(self, inputs: Tensor) -> Tensor:
        inputs_NI = inputs.reshape(-1, self.in_features).contiguous()
        outputs_NO = fan_in_linear(inputs_NI, self.weight, self.index, self.bias)
        if self.records and outputs_NO.requires_grad:
            outputs_NO.register_hook(lambda gradients: self._seen.append(InnerEvidence(inputs_NI.detach(), gradients)))
        return outputs_NO.contiguous().view(*inputs.shape[:-1], self.out_features)

    def take_evidence(self) -> InnerEvidence:
        """What was recorded since the last call, as one batch."""
        inputs = torch.cat([seen.inputs_NI for seen in self._seen])
        gradients = torch.cat([seen.gradients_NO for seen in self._seen])
        self._seen.clear()
        return InnerEvidence(inputs, gradients)

    def dense_gradient(self, evidence: InnerEvidence, labels: slice) -> Tensor:
        """Gradient of the loss with respect to the weights that a run of outputs would have if dense, [o, I]."""
        return evidence.gradients_NO[:, labels].float().T @ evidence.inputs_NI.float()

    def gradient_at(self, evidence: InnerEvidence, columns_OC: Tensor) -> Tensor:
        """The same for all outputs, but at the given columns alone, [O, C]."""
        blocks = label_slices(self.out_features, max(1, _BLOCK // self.in_features))
        return torch.cat([self.dense_gradient(evidence, rows).gather(1, columns_OC[rows].long()) for rows in blocks])
