"""Strings by the million, as one column of Arrow."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Self, overload

import numpy as np
import pyarrow as pa

_CHUNK = 1 << 16  # strings


class Strings(Sequence[str]):
    """Strings in one Arrow column, 4 bytes each beside their text: the ids and names of millions of labels.

    A list of Python's takes some 60 bytes more for each, and is equal to it where it holds the same strings.
    """

    def __init__(self, values: Iterable[str] | pa.ChunkedArray) -> None:
        held = values.column if isinstance(values, Strings) else values
        self.column: pa.ChunkedArray = held if isinstance(held, pa.ChunkedArray) else _column(held)

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        chosen = self.column[index]
        return chosen.to_pylist() if isinstance(index, slice) else chosen.as_py()

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        """The place of the first that is equal to the value. Raises ValueError where there is none."""
        encoded = value.encode()
        bounds = pa.py_buffer(np.array([0, len(encoded)], np.int32))
        wanted = pa.StringArray.from_buffers(1, bounds, pa.py_buffer(encoded))[0]  # pa.scalar imports pandas
        place: int = self.column[start:stop].index(wanted).as_py()
        if place < 0:
            raise ValueError(f"{value!r} is not there")
        return start + place

    def __iter__(self) -> Iterator[str]:
        for chunk in self.column.chunks:
            yield from chunk.to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            return bool(self.column.equals(other.column))
        return isinstance(other, list) and list(self) == other

    @classmethod
    def numbers(cls, count: int) -> Self:
        """`0`, `1` ... below `count`."""
        starts = range(0, count, _CHUNK)
        chunks = [pa.array(np.arange(start, min(start + _CHUNK, count))).cast(pa.string()) for start in starts]
        return cls(pa.chunked_array(chunks, type=pa.string()))


def _column(values: Iterable[str]) -> pa.ChunkedArray:
    stream = iter(values)
    chunks = []
    while chunk := list(islice(stream, _CHUNK)):
        chunks.append(pa.array(chunk, type=pa.string()))
    return pa.chunked_array(chunks, type=pa.string())
