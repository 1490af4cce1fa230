"""What a mistyped name may have meant."""

import difflib


def near_miss(given: str, known: list[str]) -> str:
    """`; did you mean 'x'?` or, where nothing is near, the list of what exists."""
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; expected one of: {', '.join(sorted(known))}"
