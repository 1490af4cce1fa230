"""What a strategy of sparse training is, and what it needs of the layer and of the optimizer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from xmc.types import Evidence, InnerEvidence, Rewire


class Layer(Protocol):
    """A fixed fan-in layer. weight: [L, K]. index: [G, K], columns in [0, in_features). Both change in place.

    What is said of labels holds for the outputs of a layer inside the network.

    active: the first so many slots take part in the output; the others only learn.
    """

    @property
    def weight(self) -> Tensor: ...
    @property
    def index(self) -> Tensor: ...
    @property
    def in_features(self) -> int: ...
    @property
    def active(self) -> int: ...

    def dense_gradient(self, evidence: Any, labels: slice) -> Tensor:
        """Gradient of the loss with respect to the weights that a run of labels would have if dense, [l, D]."""
        ...

    def gradient_at(self, evidence: Any, columns_GC: Tensor) -> Tensor:
        """The same for all labels, but at the given columns alone, [L, C]."""
        ...


class OptimizerState(Protocol):
    """The state that an optimizer keeps for each slot of a parameter."""

    def reset(self, parameter: Tensor, slots: Tensor) -> None:
        """Start `slots` (bool, like the parameter) anew: zero moments, step 0. Raises on state it does not know."""
        ...

    def move(self, parameter: Tensor, sources: Tensor) -> None:
        """Give each slot the state of another slot of its row, or start it anew where `sources` (int64) is -1."""
        ...


class Strategy(ABC):
    """Decides when and how the connections of a layer change; owns no weights."""

    @abstractmethod
    def due(self, step: int) -> bool:
        """Whether to rewire after `step` updates."""

    @abstractmethod
    def rewire(self, layer: Layer, optimizer_state: OptimizerState, step: int) -> Rewire:
        """Change connections in place; a new one has weight 0 and fresh optimizer state, a kept one keeps its bits."""

    def start(self, layer: Layer, learned: Tensor | None = None) -> None:
        """Choose the first connections, where those drawn at random are not meant to be.

        learned: bool [L], labels whose active connections were learned before, and stay; None: none.
        """

    def prepare(self, layer: Layer, lr: float) -> None:
        """Change the weights before a step at the learning rate `lr` of the layer."""

    def observes(self, step: int) -> bool:
        """Whether it wants to see the batch of the `step`-th update."""
        return False

    def observe(self, evidence: Evidence | InnerEvidence) -> None:
        """See a batch that it wants to see; called before `rewire`."""

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must keep of it."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
