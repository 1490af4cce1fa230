"""The interface of the bag op, and its choice between the back ends in `impl`."""

import functools
import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Bags:
    """Which rows of a table each of B bags holds, with weights: a sparse matrix [B, R] in CSR.

    offsets: int64 [B + 1]. rows: int64 [E]. weights: [E], of the table's type.
    """

    offsets: Tensor
    rows: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, bags: Tensor, rows: Tensor, weights: Tensor, size: int) -> Self:
        """From entries sorted by bag: bags, rows int64 [E], weights [E]. size: B."""
        return cls(torch.searchsorted(bags, torch.arange(size + 1, device=bags.device)), rows, weights)

    def followed_by(self, others: "Bags") -> "Bags":
        """These bags and the others behind them."""
        return Bags(
            torch.cat([self.offsets, others.offsets[1:] + self.offsets[-1]]),
            torch.cat([self.rows, others.rows]),
            torch.cat([self.weights, others.weights]),
        )

    def by_row(self) -> tuple[Tensor, "Bags"]:
        """The rows that occur, int64 [U], ascending, and for each the bags that hold it, ascending."""
        bags = torch.arange(len(self), device=self.rows.device).repeat_interleave(self.offsets.diff())
        sorted_rows, order = self.rows.sort(stable=True)
        rows, counts = sorted_rows.unique_consecutive(return_counts=True)
        return rows, Bags(F.pad(counts.cumsum(0), (1, 0)), bags[order], self.weights[order])


def count_terms(
    ids_BT: Tensor, mask_BT: Tensor, bigrams: Tensor, first_word: int, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct terms of each document: its words, and those pairs of neighbours that are bigrams.

    ids_BT, mask_BT: int64 [B, T]. bigrams: keys first * vocab_size + second, int64, ascending. first_word: lower ids
    are no words. Returns documents int64 [E], terms int64 [E] (a word's id, or vocab_size + a bigram's place) and
    counts int64 [E], sorted by document, term.
    """
    found: tuple[Tensor, Tensor, Tensor] = _module("fused_cpu" if ids_BT.device.type == "cpu" else "stock").count_terms(
        ids_BT.contiguous(), mask_BT.contiguous(), bigrams, first_word, vocab_size
    )
    return found


def document_idf(batches: Iterable[tuple[Tensor, int]], size: int) -> Tensor:
    """log((1 + N) / (1 + df)) + 1 of each of `size` terms, float32, counted in N documents; 0 where none has it.

    batches: the distinct terms of some documents, int64 [E], and how many documents these are.
    """
    frequency, number = torch.zeros(size, dtype=torch.int64), 0
    for terms, documents in batches:
        frequency += torch.bincount(terms, minlength=size)
        number += documents
    return torch.where(frequency > 0, torch.log((1 + number) / (1 + frequency)) + 1, 0.0)


@torch.no_grad()
def tf_idf(documents: Tensor, terms: Tensor, counts: Tensor, idf: Tensor, size: int) -> Tensor:
    """(1 + log count) idf of what `count_terms` gives, each document's of unit length, [E] of idf's type.

    idf: [R]. size: B. Both back ends give the same bits on the CPU.

    Raises:
        IndexError: a term lies beyond `idf`.
    """
    weights: Tensor = _serving(idf).tf_idf(documents, terms, counts, idf, size)
    return weights


@torch.no_grad()
def bag_sums(table_RD: Tensor, bags: Bags) -> Tensor:
    """The weighted sum of each bag's rows, [B, D]. On the CPU the same bits with any number of threads.

    Raises:
        IndexError: a bag holds a row that the table does not have.
    """
    sums: Tensor = _serving(table_RD).sums(table_RD, bags)
    return sums


class TableGradient:
    """Gradient of a table [R, D] whose bags were summed: their weights, transposed, times the gradient of the sums.

    Its rows are formed one at a time where they are needed, for the norm and for the update; together they would be
    the most that a step writes and reads. `scale` multiplies them.
    """

    def __init__(self, bags: Bags, of_sums_BD: Tensor) -> None:
        """of_sums_BD: the gradient of `bag_sums(table, bags)`."""
        self._bags, self._of_sums_BD = bags, of_sums_BD.detach().contiguous()
        self.rows, self._by_row = bags.by_row()
        self.scale = 1.0

    def plus(self, other: "TableGradient") -> "TableGradient":
        """The sum with the gradient by other bags, of which, as of this one, the scale is 1."""
        return TableGradient(self._bags.followed_by(other._bags), torch.cat([self._of_sums_BD, other._of_sums_BD]))

    @classmethod
    def of_no_bags(cls, table_RD: Tensor) -> Self:
        """Nothing, of such a table."""
        offsets, rows = torch.zeros(2, 1, dtype=torch.int64, device=table_RD.device)
        return cls(Bags(offsets, rows[:0], table_RD.new_empty(0)), table_RD.new_empty(0, table_RD.shape[1]))

    def gathered(self, gather: Callable[..., Sequence[Tensor]]) -> "TableGradient | None":
        """The gradient by the bags of several processes, of which, as of this one, the scale is 1; None: none has any.

        gather: of some tensors the rows of all processes. What travels are the bags and the gradients of their sums,
        [B, D]: less than the rows that they touch.
        """
        own = self._bags
        sizes, rows, weights, of_sums_BD = gather(own.offsets.diff(), own.rows, own.weights, self._of_sums_BD)
        bags = Bags(F.pad(sizes.cumsum(0), (1, 0)), rows, weights)
        return TableGradient(bags, of_sums_BD) if len(bags) else None

    @property
    def norm(self) -> float:
        """Of all its numbers."""
        return self.scale * self._norm

    @property
    def mean_square(self) -> float:
        """Of the numbers in the rows that a bag holds; 0 where there are none."""
        return self.norm**2 / max(1, len(self.rows) * self._of_sums_BD.shape[1])

    def add_to_(self, table_RD: Tensor, factor: float) -> None:
        """table += factor * gradient, in the rows that a bag holds."""
        if len(self.rows) and int(self.rows[-1]) >= len(table_RD):
            raise IndexError(f"the table has {len(table_RD)} rows, and the gradient has row {int(self.rows[-1])}")
        serving = _serving(table_RD)
        serving.add_(table_RD.detach(), self.rows, self._of_sums_BD, self._by_row, factor * self.scale)

    def to_sparse(self, size: int) -> Tensor:
        """As a sparse tensor [R, D], coalesced. size: R."""
        values = self.scale * bag_sums(self._of_sums_BD, self._by_row)
        shape = (size, values.shape[1])
        return torch.sparse_coo_tensor(self.rows[None], values, shape, is_coalesced=True, check_invariants=False)

    @functools.cached_property
    def _norm(self) -> float:
        return math.sqrt(_serving(self._of_sums_BD).sum_of_squares(self._of_sums_BD, self._by_row))


def _serving(table: Tensor) -> Any:
    """Kernels serve float32 on the CPU, stock operators all else."""
    compiled = table.device.type == "cpu" and table.dtype == torch.float32 and table.is_contiguous()
    return _module("fused_cpu" if compiled else "stock")


@functools.cache
def _module(name: str) -> Any:
    return importlib.import_module(f"xmc.ops.bag.impl.{name}")
