"""Sparse evolutionary training: drop the smallest connections, grow random ones."""

from dataclasses import dataclass
from typing import Literal

from xmc.sparsity.schedule import cosine_decay
from xmc.sparsity.strategy import Layer, OptimizerState, Strategy
from xmc.sparsity.topology import below_threshold, fraction_to_drop, random_growth, rewire_
from xmc.types import Rewire

FINAL_THRESHOLD = 1e-4


@dataclass(frozen=True)
class Set(Strategy):
    """SET (Mocanu et al., Nature Communications 2018), with both drop modes of "Navigating Extremes" (NeurIPS 2024).

    drop: "fraction" drops a share of every row's connections, "threshold" those below a magnitude.
    initial: share or magnitude at step 0; it falls by half a cosine, to 0 or to 1e-4, until `end`.
    interval: steps between rewirings. end: the first step without any. seed: of the random columns.
    offset: global number of the first row of the layer's index.
    """

    drop: Literal["fraction", "threshold"]
    initial: float
    interval: int
    end: int
    seed: int
    offset: int = 0

    def due(self, step: int) -> bool:
        return 0 < step < self.end and step % self.interval == 0

    def rewire(self, layer: Layer, optimizer_state: OptimizerState, step: int) -> Rewire:
        if self.drop == "fraction":
            counts = fraction_to_drop(layer.index, cosine_decay(step, self.initial, self.end))
        else:
            threshold = cosine_decay(step, self.initial, self.end, min(self.initial, FINAL_THRESHOLD))
            counts = below_threshold(layer.weight, layer.index, threshold)
        growth = random_growth(layer.index, layer.in_features, seed=self.seed, step=step, offset=self.offset)
        moved, rewire = rewire_(layer.weight, layer.index, counts, layer.in_features, growth)
        if rewire.grown:
            optimizer_state.reset(layer.weight, moved)
        return rewire
