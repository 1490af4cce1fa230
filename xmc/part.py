"""What is asked of every part of a run."""

from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xmc.section import Section

Value = bool | int | float | str


class Part(Section, ABC):
    """A section that is chosen by its `kind`. It is read before it is known what the others are."""

    kind: str

    def remedies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Overrides that save memory, as text, and the values that they are by dotted key of the run."""
        yield from ()

    def searched(self) -> Iterator[tuple[str, "Choice | Range"]]:
        """Keys that `xmc tune` searches, dotted as in the run, and their values around those that they have."""
        yield from ()


@dataclass(frozen=True)
class Choice:
    """One of a few values, ascending where they are numbers."""

    options: tuple[Value, ...]


@dataclass(frozen=True)
class Range:
    """Any value between two, evenly by its logarithm."""

    low: float
    high: float


def around(value: int) -> Choice:
    """Half to four times a number."""
    return among(value, max(1, value // 2), 2 * value, 4 * value)


def among(value: Value, *others: Value) -> Choice:
    """A value and others."""
    return Choice(tuple(sorted({value, *others})))
