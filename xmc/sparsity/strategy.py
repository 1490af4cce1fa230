"""What a strategy of sparse training is, and what it needs of the layer and of the optimizer."""

from typing import Protocol

from torch import Tensor

from xmc.types import Rewire


class Layer(Protocol):
    """A fixed fan-in layer. weight: [L, K]. index: [G, K], columns in [0, in_features). Both change in place."""

    @property
    def weight(self) -> Tensor: ...
    @property
    def index(self) -> Tensor: ...
    @property
    def in_features(self) -> int: ...


class OptimizerState(Protocol):
    """The state that an optimizer keeps for each slot of a parameter."""

    def reset(self, parameter: Tensor, slots: Tensor) -> None:
        """Start `slots` (bool, like the parameter) anew: zero moments, step 0. Raises on state it does not know."""
        ...


class Strategy(Protocol):
    """Decides when and how the connections of a layer change; owns no weights."""

    def due(self, step: int) -> bool:
        """Whether to rewire after `step` updates."""
        ...

    def rewire(self, layer: Layer, optimizer_state: OptimizerState, step: int) -> Rewire:
        """Change connections in place; a new one has weight 0 and fresh optimizer state, a kept one keeps its bits."""
        ...
