"""What a strategy of sparse training is, and what it needs of the layer and of the optimizer."""

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Protocol

import torch
from torch import Tensor

from xmc.model.evidence import Evidence
from xmc.sparsity.schedule import cosine_decay
from xmc.sparsity.topology import Growth, fraction_to_drop, rewire_


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

    def prepare(self, layer: SparseLayer, lr: float) -> None:
        """Change the weights before a step at the learning rate `lr` of the layer."""

    def observes(self, step: int) -> bool:
        """Whether it wants to see the batch of the `step`-th update."""
        return False

    def observe(self, evidence: Evidence) -> None:
        """See a batch that it wants to see; called before `rewire`."""

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must keep of it."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""


@dataclass(eq=False)
class DropAndGrow(Strategy):
    """Drops connections of each row and grows as many: a strategy is a rule for the one and a rule for the other.

    initial: what is dropped at step 0, by default a share of a row's connections; it falls by half a cosine to 0 at
    `end`, the first step without rewiring. interval: steps between rewirings. seed: of random columns. offset: global
    number of the first row of the layer's index. batches: the rules see evidence of the last so many.
    """

    initial: float
    interval: int
    end: int
    seed: int
    _: KW_ONLY
    offset: int = 0
    batches: int = 0

    def __post_init__(self) -> None:
        self._seen: deque[Evidence] = deque(maxlen=self.batches)

    def drop(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> tuple[Tensor, Tensor]:
        """How many connections each row of the index loses, int64 [G], and the score of each connection, [L, K]: those
        whose score is smallest in magnitude go. By default a share of them, by weight."""
        return fraction_to_drop(layer.index, cosine_decay(step, self.initial, self.end)), layer.weight

    @abstractmethod
    def grow(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> Growth:
        """Where as many connections grow; what was just dropped may grow again, from 0."""

    def due(self, step: int) -> bool:
        return 0 < step < self.end and step % self.interval == 0

    @torch.no_grad()
    def rewire(self, layer: SparseLayer, optimizer_state: OptimizerState, step: int) -> int:
        device = layer.weight.device  # a checkpoint was read to the CPU; there scalars stay
        seen = [{k: v.to(device) if v.dim() else v for k, v in evidence.items()} for evidence in self._seen]
        counts, scores = self.drop(layer, seen, step)
        growth = self.grow(layer, seen, step)
        slots, moved = rewire_(layer.weight, layer.index, counts, layer.in_features, growth, scores)
        if moved:
            optimizer_state.reset(layer.weight, slots)
        self._seen.clear()
        return moved

    def observes(self, step: int) -> bool:
        until = -step % self.interval
        return until < self.batches and self.due(step + until)

    def observe(self, evidence: Evidence) -> None:
        self._seen.append(evidence)

    def tensors(self) -> dict[str, Tensor]:
        return {f"{i}.{name}": value for i, seen in enumerate(self._seen) for name, value in seen.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        seen: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, value in tensors.items():
            number, _, part = name.partition(".")
            seen[int(number)][part] = value
        self._seen.clear()
        self._seen.extend(seen[number] for number in sorted(seen))
