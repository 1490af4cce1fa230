"""Extreme multi-label text classification with fixed fan-in sparse layers."""

from typing import TYPE_CHECKING, Any

from xmc.types import XMCError

if TYPE_CHECKING:
    from xmc.model import XMCModel

__all__ = ["XMCError", "XMCModel"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the model, and transformers with it, only when it is asked for: `xmc --help` answers at once."""
    if name == "XMCModel":
        from xmc.model import XMCModel

        return XMCModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
