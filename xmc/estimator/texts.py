"""Texts as a caller in Python has them: a list, an array, a Series, or columns of a DataFrame."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xmc.errors import XMCError
from xmc.spelling import near_miss

Texts = Any
"""N texts: a sequence of strings, or a table [N, C] (a DataFrame, an array of objects) with texts in some columns."""


def texts_of(given: Texts, columns: Sequence[str] | None = None) -> list[str]:
    """The text of each document; of a table those of its columns, joined by line breaks, without what is missing.

    columns: of a DataFrame; None: all that hold texts.

    Raises XMCError, naming the row from 0, for what is no text, or has none.
    """
    if isinstance(given, str):
        raise XMCError(f"texts is one string, {given!r:.40}; give a list of texts: [text]")
    if hasattr(given, "columns"):
        parts = [list(given[name]) for name in _chosen(given, columns)]
    elif columns is not None:
        raise XMCError(f"text_columns={list(columns)} are of a DataFrame, and texts is a {type(given).__name__}")
    elif isinstance(given, np.ndarray) and given.ndim == 2:
        parts = [list(column) for column in given.T]
    else:
        parts = [list(given)]
    return [_joined(values, row) for row, values in enumerate(zip(*parts, strict=True))]


def _chosen(table: Any, columns: Sequence[str] | None) -> list[str]:
    names = list(table.columns)
    if columns is not None:
        if lacking := [name for name in columns if name not in names]:
            known = [str(name) for name in names]
            raise XMCError(f"text_columns: no column {lacking[0]!r}{near_miss(str(lacking[0]), known)}")
        return list(columns)
    found = [name for name in names if isinstance(_first(table[name]), str)]
    if not found:
        raise XMCError(f"the table has no column of texts, only {', '.join(map(repr, names))}; give one")
    return found


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if not is_missing(value)), None)


def is_missing(value: Any) -> bool:
    """Whether it is what libraries put where there is nothing: None, NaN, pandas' NA or NaT."""
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float | np.floating) and math.isnan(value))
    )


def _joined(values: tuple[Any, ...], row: int) -> str:
    for value in values:
        if not (isinstance(value, str) or is_missing(value)):
            raise XMCError(f"texts[{row}] is {value!r:.40}; expected a string")
    if all(map(is_missing, values)):
        raise XMCError(f"texts[{row}] is {values[0]}; expected a string: drop such rows, with their labels")
    parts = [value for value in values if isinstance(value, str) and not value.isspace() and value]
    if not parts:
        raise XMCError(f"texts[{row}]: empty text; give it one, or drop such rows, with their labels")
    return "\n".join(parts)
