"""Filter files of the Extreme Classification Repository: labels to leave out of what is predicted for a document."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.sparse import csr_matrix

from xmc.data.assemble import RawSplit
from xmc.data.files import first_file, text_lines
from xmc.errors import XMCError
from xmc.values import whole_number

T = TypeVar("T")
_SHORT = {"train": "trn", "test": "tst"}


def filtered(split: RawSplit, folder: Path, name: str, labels: int) -> RawSplit:
    """The split with the filter of its name, where the folder has one."""
    path = first_file(folder, f"{_SHORT.get(name, name)}_filter_labels.txt", f"filter_labels_{name}.txt")
    if path is None:
        return split
    assert split.kept is not None
    return replace(split, filter=read_filter(path, len(split.kept), labels)[split.kept])


def read_filter(path: Path, documents: int, labels: int) -> csr_matrix:
    """The pairs of a file with `document label` a line, both from 0, as float32 CSR of ones [documents, labels].

    An empty file has no pairs. Raises XMCError, naming file and line, for what is no such pair or out of range.
    """
    pairs = array("q")
    for pair in _pairs(path, documents, labels):
        pairs.extend(pair)
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(documents, labels))
    matrix.data.fill(1)
    matrix.sort_indices()
    return matrix


class StreamFilter:
    """A filter file for documents that stream by, of which nobody knows yet how many there are.

    left_out: the labels of each document that has any. Raises XMCError as `read_filter`.
    """

    def __init__(self, path: Path, labels: int) -> None:
        self._path, self._labels = path, labels
        self.left_out: dict[int, list[int]] = {}
        for document, label in _pairs(path, None, labels):
            self.left_out.setdefault(document, []).append(label)

    def checked(self, documents: Iterable[T]) -> Iterator[T]:
        """The documents as they are; at their end XMCError for a pair of a document that did not come."""
        count = 0
        for document in documents:
            yield document
            count += 1
        for _ in _pairs(self._path, count, self._labels):
            pass


def _pairs(path: Path, documents: int | None, labels: int) -> Iterator[tuple[int, int]]:
    """Document and label of each line. documents None: any number."""
    for number, line in text_lines(path):
        where = f"{path}:{number}"
        try:
            document, label = map(whole_number, line.split())
        except ValueError:
            raise XMCError(f"{where}: expected `document label`, two whole numbers, found {line!r:.40}") from None
        for name, value, count in (("document", document, documents), ("label", label, labels)):
            if value < 0 or (count is not None and value >= count):
                known = "" if count is None else f", there are {count} from 0 to {count - 1}"
                raise XMCError(f"{where}: {name} {value} is out of range{known}; is it the filter of this split?")
        yield document, label
