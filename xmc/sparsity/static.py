"""Connections that never change."""

from xmc.sparsity.strategy import OptimizerState, SparseLayer, Strategy


class Static(Strategy):
    """The null object among the strategies."""

    def due(self, step: int) -> bool:
        return False

    def rewire(self, layer: SparseLayer, optimizer_state: OptimizerState, step: int) -> int:
        return 0
