"""Extreme multi-label text classification with fixed fan-in sparse layers.

Import it before torch, if you import torch yourself: how OpenMP's threads wait is decided then (`xmc.threads`).
"""

from typing import TYPE_CHECKING, Any

from xmc.errors import XMCError
from xmc.threads import wait_briefly

if TYPE_CHECKING:
    from xmc.estimator import XMCClassifier
    from xmc.model import XMCModel
    from xmc.workflow.unfinished import load_checkpoint

__all__ = ["XMCClassifier", "XMCError", "XMCModel", "load_checkpoint"]
__version__ = "0.1.0"

wait_briefly()


def __getattr__(name: str) -> Any:
    """Import what needs torch and transformers only when it is asked for: `xmc --help` answers at once."""
    if name == "XMCModel":
        from xmc.model import XMCModel

        return XMCModel
    if name == "XMCClassifier":
        from xmc.estimator import XMCClassifier

        return XMCClassifier
    if name == "load_checkpoint":
        from xmc.workflow.unfinished import load_checkpoint

        return load_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
