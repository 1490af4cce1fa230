"""What a strategy of sparse training is, how it is chosen, and what it needs of the layer and of the optimizer.

The files of strategies are light, since they hold the keys that `--help` shows: what imports torch is imported where a
strategy works.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from xmc.part import Part

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.distributed import Processes, Rows, Shard
    from xmc.model.evidence import Evidence

REWIRINGS = 4  # one every fourth of a run, where nothing else is set ...
SHORTEST, LONGEST = 10, 100  # ... but of so many steps: a new connection needs some to learn


class SparseLayer(Protocol):
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

    @property
    def watches(self) -> bool: ...

    def watch(self) -> None:
        """Keep of the next batch what `take_evidence` is to give."""
        ...

    def take_evidence(self) -> Evidence:
        """What was kept of the batch since `watch`; the layer forgets it, and keeps nothing more."""
        ...

    def dense_gradient(self, evidence: Evidence, labels: slice) -> Tensor:
        """Gradient of the loss with respect to the weights that a run of labels would have if dense, [l, D]."""
        ...

    def gradient_at(self, evidence: Evidence, columns_GC: Tensor) -> Tensor:
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
    def rewire(self, layer: SparseLayer, optimizer_state: OptimizerState, step: int) -> int:
        """Change connections in place; a new one has weight 0 and fresh optimizer state, a kept one keeps its bits.

        Returns how many moved, all labels together.
        """

    def start(self, layer: SparseLayer, learned: Tensor | None = None) -> None:
        """Choose the first connections, where those drawn at random are not meant to be.

        learned: bool [L], labels whose active connections were learned before, and stay; None: none.
        """

    def prepare(self, layer: SparseLayer, step: int, lr: float) -> None:
        """Come before the `step`-th update, at the learning rate `lr` of the layer: change the weights, or have the
        layer `watch` its batch."""

    def observe(self, evidence: Evidence) -> None:
        """See a batch that the layer watched; called before `rewire`."""

    def tensors(self) -> Mapping[str, Tensor | Rows]:
        """What a checkpoint must keep of it; of several processes each has the same, or some rows."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""


@dataclass(frozen=True)
class Site:
    """What a strategy is built for.

    layer: whose connections it changes. total_steps, seed, folder: of the run. first_row: number of the layer's first
    row among all that draw random connections. bound: the layer's weights start uniform in +-bound. learned: bool [L],
    labels whose connections were learned before; None of an inner layer, which is no classifier. shard: the layer's
    rows, where `processes` have the others; None: there are no others.
    """

    layer: SparseLayer
    total_steps: int
    seed: int
    folder: Path
    first_row: int
    bound: float
    learned: Tensor | None
    shard: Shard | None = None
    processes: Processes | None = None

    @property
    def inner(self) -> bool:
        """Whether the layer is inside the network."""
        return self.learned is None

    @property
    def interval(self) -> int:
        """Steps between two rewirings, where none are set."""
        return min(max(self.total_steps // REWIRINGS, SHORTEST), LONGEST)


class SparsitySection(Part):
    """Which connections a label has, and when and how they change.

    rewires: whether it ever changes them. learns_beyond_output: whether weights learn, or wait, that take no part in
    the output; only a classifier without groups can have such. divides: whether each of several processes can change
    the rows of its own labels by itself, numbered from `Site.first_row` on.
    """

    divides: ClassVar[bool] = False
    rewires: ClassVar[bool] = True
    learns_beyond_output: ClassVar[bool] = False

    @abstractmethod
    def build(self, site: Site) -> Strategy:
        """The strategy of one layer."""

    def slots(self, fan_in: int, in_features: int) -> int:
        """Connections of a label that learn."""
        return min(fan_in, in_features)

    def why_idle(self, layer: SparseLayer, step: int, total_steps: int) -> str | None:
        """Why no connection will move although the first rewiring is after `step` updates; None: some will."""
        return None

    def sooner(self, total_steps: int) -> str:
        """What to do where the run is over before the first rewiring."""
        return "train longer"

    def rewiring_bytes(self, labels: int, groups: int, slots: int, width: int) -> int:
        """Memory of a rewiring of a layer of so many labels, in groups that share connections."""
        return 0

    def waiting_bytes(self, labels: int, width: int) -> tuple[int, int]:
        """Of weights without a slot: memory of the host, and a file."""
        return 0, 0

    def beyond_estimates(self, fan_in: int, in_features: int) -> Iterator[str]:
        """What of its memory no formula covers, in words."""
        yield from ()
