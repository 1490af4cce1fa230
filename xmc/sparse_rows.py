"""Rows of sparse features as text, in the notation of svmlight."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from xmc.errors import XMCError
from xmc.values import whole_number

_LARGEST = (2 - 2**-23) * 2.0**127  # of float32


@dataclass(frozen=True, slots=True)
class SparseRow:
    """A row of a sparse matrix. columns: ascending, without repeats. values: one for each, within float32."""

    columns: Sequence[int]
    values: Sequence[float]

    @classmethod
    def parse(cls, text: str, size: int, where: str) -> Self:
        """Of `column:value column:value ...`, columns from 0 and in any order. size: how many columns there are.

        Raises XMCError, beginning with `where`, for what is no such pair, out of range or there twice.
        """
        entries = text.split()
        parts = [entry.partition(":") for entry in entries]
        try:
            if "_" in text or not text.isascii():  # which `int` and `float` take
                raise ValueError
            columns, values = [int(part[0]) for part in parts], [float(part[2]) for part in parts]
        except ValueError:
            wrong = next((entry for entry in entries if not _is_pair(entry)), text)
            raise XMCError(
                f"{where}: expected `feature:value`, a whole number and a number, found {wrong!r:.40}"
            ) from None
        if entries and not 0 <= min(columns) <= max(columns) < size:
            outside = next(column for column in columns if not 0 <= column < size)
            raise XMCError(
                f"{where}: feature {outside!s:.20} is out of range; there are {size} features, 0 to {size - 1}"
            )
        if len(set(columns)) < len(columns):
            twice = next(column for column, times in Counter(columns).items() if times > 1)
            raise XMCError(f"{where}: feature {twice} stands twice; expected each feature once, with its whole value")
        if not sum(map(abs, values)) <= _LARGEST:  # nor where one is not a number
            for column, value in zip(columns, values, strict=True):
                if not abs(value) <= _LARGEST:
                    raise XMCError(f"{where}: feature {column} has the value {value}; expected a finite 32-bit number")
        ascending = sorted(columns)
        if ascending == columns:
            return cls(columns, values)
        value_of = dict(zip(columns, values, strict=True))
        return cls(ascending, [value_of[column] for column in ascending])


def _is_pair(entry: str) -> bool:
    column, _, value = entry.partition(":")
    try:
        whole_number(column), float(value)
    except ValueError:
        return False
    return "_" not in value and value.isascii()
