"""Sparse evolutionary training: drop the smallest connections, grow random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

from xmc.sparsity.drop_and_grow import DropAndGrow, DropAndGrowSection
from xmc.sparsity.schedule import cosine_decay
from xmc.sparsity.strategy import Site, SparseLayer, Strategy
from xmc.values import Fraction

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.model.evidence import Evidence
    from xmc.sparsity.topology import Growth

FINAL_THRESHOLD = 1e-4


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
        threshold = cosine_decay(step, self.initial, self.end, min(self.initial, FINAL_THRESHOLD))
        return below_threshold(layer.weight, layer.index, threshold), layer.weight

    def grow(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> Growth:
        from xmc.sparsity.topology import random_growth

        return random_growth(layer.index, layer.in_features, seed=self.seed, step=step, offset=self.offset)
