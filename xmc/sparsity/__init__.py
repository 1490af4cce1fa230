"""Dynamic sparse training: which connections a label has, and when and how they change."""

from xmc.sparsity.health import TopologyHealth
from xmc.sparsity.rigl import RigL, gradient_growth
from xmc.sparsity.schedule import cosine_decay
from xmc.sparsity.set import Set
from xmc.sparsity.static import Static
from xmc.sparsity.store import HostStore, ImplicitStore, MappedStore, WeightStore
from xmc.sparsity.strategy import DropAndGrow, OptimizerState, SparseLayer, Strategy
from xmc.sparsity.topkast import TopKast, initial_scale, scale_below
from xmc.sparsity.topology import Growth, absent_columns, init_index, random_growth, rewire_

__all__ = [
    "DropAndGrow",
    "Growth",
    "HostStore",
    "ImplicitStore",
    "MappedStore",
    "OptimizerState",
    "RigL",
    "Set",
    "SparseLayer",
    "Static",
    "Strategy",
    "TopKast",
    "TopologyHealth",
    "WeightStore",
    "absent_columns",
    "cosine_decay",
    "gradient_growth",
    "init_index",
    "initial_scale",
    "random_growth",
    "rewire_",
    "scale_below",
]
