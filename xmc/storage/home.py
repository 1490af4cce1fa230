"""The home directory in paths."""

from pathlib import Path

from xmc.errors import XMCError


def home_expanded(path: str | Path) -> Path:
    """`~/...` with the home directory. Raises XMCError where there is none."""
    given = Path(path)
    if given.parts[:1] != ("~",):
        return given
    try:
        return given.expanduser()
    except RuntimeError:
        raise XMCError(f"{path}: there is no home directory; set HOME, or give the path without ~") from None
