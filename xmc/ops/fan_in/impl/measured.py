"""What `auto` is on a GPU: for each kind of call the back end that is fastest there, measured once and remembered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import triton.testing
from torch import Tensor

from xmc.errors import said
from xmc.ops.fan_in.backend import Backend
from xmc.ops.fan_in.impl import tuning
from xmc.ops.fan_in.impl.fused_gpu import current, described
from xmc.ops.fan_in.impl.tuning import DoesNotFit
from xmc.types import FanIn, InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

R = TypeVar("R")


@dataclass(frozen=True)
class _Option:
    name: str
    backend: Backend


class MeasuredBackend(Backend):
    """One of several back ends by name, all of which serve; each chooses among its own configurations first."""

    def __init__(self, backends: dict[str, Backend]) -> None:
        self._options = [_Option(name, backend) for name, backend in backends.items()]

    def lacks(self, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
        reasons = (option.backend.lacks(device, dtype, weight_dtype) for option in self._options)
        return next((reason for reason in reasons if reason is not None), None)

    def linear(self, features: Tensor, layer: FanIn) -> Tensor:
        return self._by_fastest("logits", features, layer, lambda backend, part: backend.linear(features, part))

    def linear_backward(self, gradient: Tensor, features: Tensor, layer: FanIn) -> tuple[Tensor, Tensor, Tensor]:
        def call(backend: Backend, part: FanIn) -> tuple[Tensor, Tensor, Tensor]:
            return backend.linear_backward(gradient[:, : len(part)], features, part)

        return self._by_fastest("gradients of logits", features, layer, call)

    def loss(self, features: Tensor, layer: FanIn, positives: Positives, loss: LossName) -> StepOutput:
        def call(backend: Backend, part: FanIn) -> StepOutput:
            return backend.loss(features, part, positives, loss)

        return self._by_fastest(f"{loss} with gradients", features, layer, call)

    def sgd_step(
        self,
        features: Tensor,
        layer: FanIn,
        positives: Positives,
        loss: LossName,
        update: InPlaceUpdate,
        applies: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        def call(backend: Backend, part: FanIn) -> tuple[Tensor, Tensor]:
            return backend.sgd_step(features, part, positives, loss, update, applies)

        return self._by_fastest(f"{loss} in place", features, layer, call)

    def topk(self, features: Tensor, layer: FanIn, k: int) -> TopK:
        return self._by_fastest("ranking", features, layer, lambda backend, part: backend.topk(features, part, k))

    def _by_fastest(self, what: str, features: Tensor, layer: FanIn, call: Callable[[Backend, FanIn], R]) -> R:
        """call: of a back end on the layer, or, while it is timed, on a copy of the layer's first labels."""

        def milliseconds(option: _Option) -> float:
            part = tuning.rehearsal(layer)
            try:
                with current(features.device):
                    return float(triton.testing.do_bench(lambda: call(option.backend, part), return_mode="median"))
            except torch.OutOfMemoryError as error:
                raise DoesNotFit(said(error)) from None

        kind = f"{what}, {described(features, layer)}"
        return call(tuning.TUNER.choose(kind, self._options, milliseconds).backend, layer)
