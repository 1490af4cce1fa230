"""Labels as a caller in Python has them: strings or integers, in lists, sets or a matrix."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from xmc.errors import XMCError
from xmc.estimator.texts import is_missing

Label = str | int
Labels = Any
"""Labels of N documents: a list or set of labels each, or a matrix [N, L] of what is not 0: sparse, an array, or a
DataFrame, whose columns are the labels."""


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
