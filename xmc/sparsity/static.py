"""Connections that never change."""

from typing import ClassVar, Literal

from xmc.sparsity.strategy import OptimizerState, Site, SparseLayer, SparsitySection, Strategy


class StaticSparsity(SparsitySection):
    """Connections that never change."""

    rewires: ClassVar[bool] = False
    divides: ClassVar[bool] = True

    kind: Literal["static"] = "static"

    def build(self, site: Site) -> Strategy:
        return Static()


class Static(Strategy):
    """The null object among the strategies."""

    def due(self, step: int) -> bool:
        return False

    def rewire(self, layer: SparseLayer, optimizer_state: OptimizerState, step: int) -> int:
        return 0
