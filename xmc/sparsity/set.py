"""Sparse evolutionary training: drop the smallest connections, grow random ones."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from torch import Tensor

from xmc.model.evidence import Evidence
from xmc.sparsity.schedule import cosine_decay
from xmc.sparsity.strategy import DropAndGrow, SparseLayer
from xmc.sparsity.topology import Growth, below_threshold, random_growth

FINAL_THRESHOLD = 1e-4


@dataclass(eq=False)
class Set(DropAndGrow):
    """SET (Mocanu et al., Nature Communications 2018), with both drop modes of "Navigating Extremes" (NeurIPS 2024).

    mode: "fraction" drops a share of every row's connections, "threshold" those below a magnitude, which is `initial`
    at step 0 and falls to 1e-4.
    """

    _: KW_ONLY
    mode: Literal["fraction", "threshold"] = "fraction"

    def drop(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> tuple[Tensor, Tensor]:
        if self.mode == "fraction":
            return super().drop(layer, seen, step)
        threshold = cosine_decay(step, self.initial, self.end, min(self.initial, FINAL_THRESHOLD))
        return below_threshold(layer.weight, layer.index, threshold), layer.weight

    def grow(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> Growth:
        return random_growth(layer.index, layer.in_features, seed=self.seed, step=step, offset=self.offset)
