"""Texts and labels as a caller in Python has them: lists, arrays, columns of a DataFrame, matrices."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from xmc.errors import XMCError
from xmc.spelling import near_miss

Texts = Any
"""N texts: a sequence of strings, or a table [N, C] (a DataFrame, an array of objects) with texts in some columns."""
Label = str | int
Labels = Any
"""Labels of N documents: a list or set of labels each, or a matrix [N, L] of what is not 0: sparse, an array, or a
DataFrame, whose columns are the labels."""


def texts_of(given: Texts, columns: Sequence[str] | None = None) -> list[str]:
    """The text of each document; of a table those of its columns, joined by line breaks, without what is missing.

    columns: of a DataFrame; None: all that hold texts.

    Raises XMCError, naming the row from 0, for what is no text, or has none.
    """
    if isinstance(given, str):
        raise XMCError(f"texts is one string, {given!r:.40}; give a list of texts: [text]")
    if isinstance(given, Mapping):
        raise XMCError(f"texts is a {type(given).__name__}; give a list of texts, or a DataFrame")
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


def count(labels: Labels) -> int:
    return int(labels.shape[0]) if hasattr(labels, "shape") else len(labels)


def plain(labels: Iterable[Any]) -> list[Any]:
    """Python's own values of an array's."""
    return [label.item() if isinstance(label, np.generic) else label for label in labels]


def columns_of(labels: Labels) -> list[Any] | None:
    """The labels that the columns of a matrix tell; None where they tell none."""
    return plain(labels.columns) if hasattr(labels, "columns") else None


def as_matrix(labels: Labels) -> sp.csr_matrix | None:
    """Labels as CSR [N, L], which may share its memory with them; None where they are a collection a document.

    Raises XMCError for an array that says something else than which labels apply.
    """
    if bool(sp.issparse(labels)):
        return sp.csr_matrix(labels)
    values = labels.to_numpy() if hasattr(labels, "columns") else labels
    if not isinstance(values, np.ndarray) or values.ndim != 2:
        return None
    if values.dtype == object or not np.isin(values, (0, 1)).all():
        raise XMCError("labels is an array of other than 0 and 1; give a list of labels for each text: labels.tolist()")
    return sp.csr_matrix(values)


def label_lists(labels: Labels, classes: Iterable[Label] | None) -> Iterator[list[Label]]:
    """Labels of each document, none twice. What the caller has stays as it is.

    Raises XMCError for a document whose labels are no collection of strings or integers, and for a matrix of other
    than L columns.
    """
    if (matrix := as_matrix(labels)) is not None:
        names = plain(range(matrix.shape[1]) if classes is None else classes)
        if len(names) != matrix.shape[1]:
            raise XMCError(f"labels has {matrix.shape[1]} columns, classes {len(names)} names; give a name a column")
        for start, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
            columns = matrix.indices[start:end][matrix.data[start:end] != 0]
            yield [names[column] for column in np.unique(columns).tolist()]
        return
    for row, of_one in enumerate(labels):
        one = None if isinstance(of_one, str) or not isinstance(of_one, Iterable) else plain(of_one)
        if one is None or not all(isinstance(label, str | int) and not isinstance(label, bool) for label in one):
            raise XMCError(
                f"labels[{row}] is {of_one!r}; expected a list or set of labels, such as ['a', 'b']{_how(of_one)}"
            )
        yield list(dict.fromkeys(one))


def _how(given: Any) -> str:
    """What makes lists of labels of what is none."""
    if isinstance(given, str):
        return ": of a Series of texts, labels.str.split(';')"
    return ", or [] for none" if is_missing(given) else ""
