"""Strategies that drop connections of each row and grow as many: what they share, and SET, the plainest."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from xmc.sparsity.strategy import OptimizerState, Site, SparseLayer, SparsitySection, Strategy
from xmc.values import Count, Fraction

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.model.evidence import Evidence
    from xmc.sparsity.topology import Growth

_ROWS = 1 << 14  # of the index that are rewired at once
_FINAL_THRESHOLD = 1e-4


def cosine_decay(step: int, initial: float, end: int, final: float = 0.0) -> float:
    """Half a cosine from `initial` at step 0 to `final` at step `end`; 0 from there on, where the method is off.

    With `final` 0 it is the drop fraction of RigL (Evci et al., ICML 2020, section 3), f0 / 2 (1 + cos(pi t / T_end)).
    """
    if step >= end:
        return 0.0
    return final + (initial - final) / 2 * (1 + math.cos(math.pi * step / end))


class DropAndGrowSection(SparsitySection):
    """How much is dropped, and when."""

    divides: ClassVar[bool] = True

    initial: Fraction
    """share of a label's connections to drop at first; it falls by cosine"""
    interval: Count | None = None
    """steps between rewirings; null: a quarter of the run's, from 10 to 100"""
    stop: Fraction
    """of the training steps"""

    def schedule(self, site: Site) -> tuple[float, int, int, int]:
        """The first arguments of a `DropAndGrow`."""
        return self.initial, self.interval or site.interval, round(self.stop * site.total_steps), site.seed

    def most_dropped(self, slots: int) -> int:
        """Connections of a row of so many that one rewiring drops, at most."""
        return round(self.initial * slots)

    def why_idle(self, layer: SparseLayer, step: int, total_steps: int) -> str | None:
        share = cosine_decay(step, self.initial, round(self.stop * total_steps))
        if round(share * layer.active):
            return None
        return f"{share:.2g} of a label's is less than one; raise sparsity.initial or classifier.fan_in"

    def sooner(self, total_steps: int) -> str:
        soon = round(self.stop * total_steps) // 3
        return f"set sparsity.interval={soon}, or train longer" if soon else "train longer, or raise sparsity.stop"

    def rewiring_bytes(self, labels: int, groups: int, slots: int, width: int) -> int:
        return labels * slots + min(groups, _ROWS) * (12 * slots + 32 * self.most_dropped(slots))


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
        from xmc.sparsity.topology import fraction_to_drop

        return fraction_to_drop(layer.index, cosine_decay(step, self.initial, self.end)), layer.weight

    @abstractmethod
    def grow(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> Growth:
        """Where as many connections grow; what was just dropped may grow again, from 0."""

    def due(self, step: int) -> bool:
        return 0 < step < self.end and step % self.interval == 0

    def rewire(self, layer: SparseLayer, optimizer_state: OptimizerState, step: int) -> int:
        import torch

        from xmc.sparsity.topology import rewire_

        device = layer.weight.device  # a checkpoint was read to the CPU; there scalars stay
        seen = [{k: v.to(device) if v.dim() else v for k, v in evidence.items()} for evidence in self._seen]
        with torch.no_grad():
            counts, scores = self.drop(layer, seen, step)
            growth = self.grow(layer, seen, step)
            slots, moved = rewire_(layer.weight, layer.index, counts, layer.in_features, growth, scores)
        if moved:
            optimizer_state.reset(layer.weight, slots)
        self._seen.clear()
        return moved

    def prepare(self, layer: SparseLayer, step: int, lr: float) -> None:
        if self.observes(step):
            layer.watch()

    def observes(self, step: int) -> bool:
        """Whether the rules see the batch of the `step`-th update."""
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


class SetSparsity(DropAndGrowSection):
    """Sparse evolutionary training: drop the smallest weights of each label, regrow as many at random."""

    kind: Literal["set"] = "set"
    drop: Literal["fraction", "threshold"] = "fraction"
    initial: Fraction = 0.2
    """share of a label's connections, or |weight|, to drop at first; it falls by cosine"""
    stop: Fraction = 0.66
    """of the training steps"""

    def build(self, site: Site) -> Strategy:
        return Set(*self.schedule(site), mode=self.drop, offset=site.first_row)

    def why_idle(self, layer: SparseLayer, step: int, total_steps: int) -> str | None:
        return super().why_idle(layer, step, total_steps) if self.drop == "fraction" else None

    def most_dropped(self, slots: int) -> int:
        return super().most_dropped(slots) if self.drop == "fraction" else slots


@dataclass(eq=False)
class Set(DropAndGrow):
    """SET (Mocanu et al., Nature Communications 2018), with both drop modes of "Navigating Extremes" (NeurIPS 2024).

    mode: "fraction" drops a share of every row's connections, "threshold" those below a magnitude, which is `initial`
    at step 0 and falls to 1e-4.
    """

    _: KW_ONLY
    mode: Literal["fraction", "threshold"] = "fraction"

    def drop(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> tuple[Tensor, Tensor]:
        from xmc.sparsity.topology import below_threshold

        if self.mode == "fraction":
            return super().drop(layer, seen, step)
        threshold = cosine_decay(step, self.initial, self.end, min(self.initial, _FINAL_THRESHOLD))
        return below_threshold(layer.weight, layer.index, threshold), layer.weight

    def grow(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> Growth:
        from xmc.sparsity.topology import random_growth

        return random_growth(layer.index, layer.in_features, seed=self.seed, step=step, offset=self.offset)
