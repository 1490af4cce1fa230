"""Values that travel between the rooms of the package, and the legend of shape letters.

Tensor names end in their shape where it helps (`features_BD`):

    N documents of a split      B documents of a batch     T tokens of a document
    V vocabulary                D features                 L labels
    K fan-in of a label         C label clusters           P positives of a batch
    G groups of labels          k length of a ranked list
    I, O inputs and outputs of a layer inside the network; there N counts its rows
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, overload

import numpy as np
import pyarrow as pa

from xmc.errors import XMCError
from xmc.values import LossName as LossName

if TYPE_CHECKING:  # torch takes seconds to import, and `xmc --help` needs none
    import torch
    from torch import Tensor

_LARGEST = float(np.finfo(np.float32).max)
_CHUNK = 1 << 16  # strings
_WHOLE = re.compile("-?[0-9]{1,18}")


def said(error: object) -> str:
    """What a library says went wrong, in one line."""
    return " ".join(str(error).split())


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

    def __iter__(self) -> Iterator[str]:
        for chunk in self.column.chunks:
            yield from chunk.to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            return bool(self.column.equals(other.column))
        return isinstance(other, list) and list(self) == other

    @classmethod
    def numbers(cls, count: int) -> Strings:
        """`0`, `1` ... below `count`."""
        starts = range(0, count, _CHUNK)
        chunks = [pa.array(np.arange(start, min(start + _CHUNK, count))).cast(pa.string()) for start in starts]
        return cls(pa.chunked_array(chunks, type=pa.string()))


def whole_number(text: str) -> int:
    """The number that a text of a few ASCII digits is, maybe behind a minus.

    Raises ValueError for anything else; `int` takes `1_0` for 10, and the digits of any script.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r:.40} is no whole number")
    return int(text)


def _column(values: Iterable[str]) -> pa.ChunkedArray:
    stream = iter(values)
    chunks = []
    while chunk := list(islice(stream, _CHUNK)):
        chunks.append(pa.array(chunk, type=pa.string()))
    return pa.chunked_array(chunks, type=pa.string())


@dataclass(frozen=True, slots=True)
class SparseRow:
    """A row of a sparse matrix. columns: ascending, without repeats. values: one for each, within float32."""

    columns: Sequence[int]
    values: Sequence[float]

    @classmethod
    def parse(cls, text: str, size: int, where: str) -> SparseRow:
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


@dataclass(frozen=True, slots=True)
class Positives:
    """The positive labels of B documents as CSR: document `i` has `labels[offsets[i]:offsets[i + 1]]`.

    offsets: int64 [B + 1], from 0 to P. labels: int64 [P], ascending and without repeats in each document.
    """

    offsets: Tensor
    labels: Tensor

    @classmethod
    def of_pairs(cls, documents: Tensor, labels: Tensor, batch: int) -> Positives:
        """From a document and a label each, int64 [P], ascending by document."""
        counts = documents.bincount(minlength=batch)
        offsets = counts.new_zeros(batch + 1)
        offsets[1:] = counts.cumsum(0)
        return cls(offsets, labels)

    def __len__(self) -> int:
        return self.offsets.numel() - 1

    def documents(self) -> Tensor:
        """Row of each positive, int64 [P]."""
        rows = self.offsets.new_ones(len(self)).cumsum(0) - 1
        return rows.repeat_interleave(self.offsets.diff(), output_size=self.labels.numel())

    def to(self, device: torch.device | str) -> Positives:
        return Positives(self.offsets.to(device), self.labels.to(device))


@dataclass(frozen=True, slots=True)
class Batch:
    """B tokenised documents.

    input_ids, attention_mask: int64 [B, T], padded on the right. rows: int64 [B], each document's row in its split.
    values: float32 [B, T], what each id weighs in a document of sparse features; None: the ids are tokens of a text.
    """

    input_ids: Tensor
    attention_mask: Tensor
    positives: Positives
    rows: Tensor
    values: Tensor | None = None

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.positives.to(device),
            self.rows.to(device),
            None if self.values is None else self.values.to(device),
        )


@dataclass(frozen=True, slots=True)
class TopK:
    """The k best labels of each document, best first; equal scores rank by ascending label.

    scores: float32 [B, k], logits. labels: int64 [B, k]. Where fewer than k candidates exist the tail is -inf and -1.
    """

    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]

    @staticmethod
    def cat(parts: list[TopK]) -> TopK:
        import torch

        return TopK(torch.cat([p.scores for p in parts]), torch.cat([p.labels for p in parts]))


@dataclass(frozen=True, slots=True)
class InPlaceUpdate:
    """One step of SGD on a classifier. seed and step choose the random numbers that round weights of bfloat16."""

    lr: float
    weight_decay: float = 0.0
    seed: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What one streaming pass over the labels gives back.

    loss: scalar, summed over labels, averaged over documents. grad_features: [B, D].
    grad_weight: like the weight. grad_bias: [L].
    """

    loss: Tensor
    grad_features: Tensor
    grad_weight: Tensor
    grad_bias: Tensor
