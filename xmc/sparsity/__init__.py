"""Dynamic sparse training: which connections a label has, and when and how they change."""

from xmc.sparsity.schedule import cosine_decay
from xmc.sparsity.set import Set
from xmc.sparsity.static import Static
from xmc.sparsity.strategy import Layer, OptimizerState, Strategy
from xmc.sparsity.topology import init_index, rewire_
from xmc.types import Rewire

__all__ = [
    "Layer",
    "OptimizerState",
    "Rewire",
    "Set",
    "Static",
    "Strategy",
    "cosine_decay",
    "init_index",
    "rewire_",
]
