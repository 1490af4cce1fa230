"""Label matrices as `scipy.sparse.save_npz` writes them, read a row at a time; what a file claims is checked."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from xmc.data.labels import MOST_LABELS
from xmc.data.lines import DAMAGED
from xmc.errors import XMCError, said

_EXPECTED = "expected a CSR matrix as scipy.sparse.save_npz writes it"
_ROWS = 10_000  # whose offsets are read at once
_BLOCK = 1 << 20  # bytes
_WIDEST = 100  # bytes of an entry
_UNREADABLE = (*DAMAGED, KeyError, ValueError, SyntaxError, RuntimeError, TokenError, zipfile.BadZipFile)
"""What damaged, encrypted and oddly compressed archives raise."""


def shape_of(path: Path) -> tuple[int, int]:
    """How many documents and labels a matrix has."""
    with _opened(path) as archive:
        return _shape(path, archive)


def label_rows(path: Path) -> Iterator[NDArray[np.integer]]:
    """The columns that are not zero in each row; whether they are in range is not checked.

    Raises XMCError for what is no CSR matrix, at the row where that shows.
    """
    with _opened(path) as archive:
        rows, columns = _shape(path, archive)
        indptr, indices, data = (_Array(archive, name) for name in ("indptr", "indices", "data"))
        integers = indptr.dtype.kind in "iu" and indices.dtype.kind in "iu" and data.dtype.kind in "biuf"
        if not integers or indptr.length != rows + 1 or indices.length != data.length:
            raise _unfit(path, rows, indices.length)
        position = int(indptr.take(1)[0])
        if position != 0:
            raise _unfit(path, rows, indices.length)
        for start in range(0, rows, _ROWS):
            offsets = [position, *indptr.take(min(_ROWS, rows - start)).tolist()]  # as Python's, which never wrap
            for row, (position, end) in enumerate(pairwise(offsets), start):
                if not position <= end <= min(indices.length, position + columns):
                    raise _unfit(path, rows, indices.length)
                values = data.take(end - position)
                if values.dtype.kind == "f" and not np.isfinite(values).all():
                    raise XMCError(f"{path}: row {row} has an entry that is no finite number; {_EXPECTED}")
                yield indices.take(end - position)[values != 0]
            position = offsets[-1]
        if position != indices.length:
            raise _unfit(path, rows, indices.length)


class _Array:
    """An array of an archive, of one dimension or none, read as its entries are asked for."""

    def __init__(self, archive: zipfile.ZipFile, name: str, dimensions: int = 1) -> None:
        self._name = name
        self._stream = cast(BinaryIO, archive.open(f"{name}.npy"))
        read = npy.read_array_header_1_0 if npy.read_magic(self._stream) == (1, 0) else npy.read_array_header_2_0
        shape, _, self.dtype = read(self._stream)
        if self.dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded, they are pickles")
        if len(shape) != dimensions or self.dtype.itemsize > _WIDEST:
            raise ValueError(f"{name} has the shape {shape} and the type {self.dtype}")
        self.length: int = shape[0] if shape else 1

    def take(self, count: int) -> NDArray[np.generic]:
        """The next entries."""
        wanted = count * self.dtype.itemsize
        content = bytearray()
        while len(content) < wanted and (block := self._stream.read(min(_BLOCK, wanted - len(content)))):
            content += block
        if len(content) < wanted:
            raise ValueError(f"{self._name} has fewer entries than it tells")
        return np.frombuffer(content, self.dtype)


def _shape(path: Path, archive: zipfile.ZipFile) -> tuple[int, int]:
    kind = _Array(archive, "format", 0).take(1).tolist()[0]
    shape = _Array(archive, "shape")
    told = shape.take(2).tolist() if shape.length == 2 and shape.dtype.kind in "iu" else None
    if kind not in ("csr", b"csr") or told is None or min(told) < 0:
        raise XMCError(f"{path}: format {kind!r}, shape {told}; {_EXPECTED}")
    rows, columns = told
    if columns > MOST_LABELS:
        raise XMCError(f"{path}: {columns} columns; at most {MOST_LABELS} labels are taken")
    return rows, columns


def _unfit(path: Path, rows: int, entries: int) -> XMCError:
    return XMCError(f"{path}: its offsets do not fit its {rows} rows and {entries} entries; {_EXPECTED}")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _UNREADABLE as error:
        raise XMCError(f"{path}: cannot be read ({said(error)}); {_EXPECTED}. Is it complete?") from None
