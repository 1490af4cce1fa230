"""Dynamic sparse training: which connections a label has, and when and how they change.

A strategy is a file here and a line below, or an entry point of the group `xmc.sparsity` of another package.
"""

from xmc.registry import Registry
from xmc.sparsity.strategy import SparsitySection

SPARSITY = Registry(
    "sparsity",
    SparsitySection,
    {
        "static": "xmc.sparsity.static:StaticSparsity",
        "set": "xmc.sparsity.drop_and_grow:SetSparsity",
        "rigl": "xmc.sparsity.rigl:RigLSparsity",
        "topkast": "xmc.sparsity.topkast:TopKastSparsity",
    },
)
