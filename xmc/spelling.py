"""What a mistyped name may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(given: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """`did you mean 'a' or 'b'?`, the nearest name first, or nothing where none is near; upper case is near lower case.

    most: how many names are told. cutoff: similarity, as `difflib` has it, from which a name is near.
    """
    plain = {name.strip().lower(): name for name in known}
    near = [plain[name] for name in get_close_matches(given.strip().lower(), plain, n=most, cutoff=cutoff)]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def near_miss(given: str, known: list[str]) -> str:
    """`; did you mean 'x'?` or, where nothing is near, the list of what exists."""
    return "; " + (did_you_mean(given, known) or f"expected one of: {', '.join(sorted(known))}")
