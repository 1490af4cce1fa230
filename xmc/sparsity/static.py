"""Connections that never change."""

from xmc.sparsity.strategy import Layer, OptimizerState, Strategy
from xmc.types import Rewire


class Static(Strategy):
    """The null object among the strategies."""

    def due(self, step: int) -> bool:
        return False

    def rewire(self, layer: Layer, optimizer_state: OptimizerState, step: int) -> Rewire:
        return Rewire(0, 0)
