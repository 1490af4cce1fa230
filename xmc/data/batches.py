"""Tokenised documents to padded batches of documents of similar length, in an order that is a function of the seed."""

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xmc.types import Batch, Positives

if TYPE_CHECKING:
    from datasets import Dataset

_BUCKET = 50  # batches whose documents are sorted by length together


def shuffled_rows(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Rows of each batch of an epoch, int64 arrays; every row in exactly one, the last of the epoch may be short.

    Documents are shuffled, cut into buckets of 50 batches, sorted by length inside a bucket and cut into batches,
    whose order is shuffled in turn. lengths: tokens of each document, [N].
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    bucket = _BUCKET * batch_size
    batches = []
    for start in range(0, len(order), bucket):
        rows = order[start : start + bucket]
        batches += _cut(rows[np.argsort(lengths[rows], kind="stable")], batch_size)
    return [batches[position] for position in rng.permutation(len(batches))]


def rows_by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows of each batch for evaluation, the longest documents first, so that memory is at its peak at once."""
    return _cut(np.argsort(-lengths, kind="stable"), batch_size)


def _cut(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


class _Lists:
    """A column of lists that stays on disk, a number of chunks."""

    def __init__(self, dataset: "Dataset", column: str) -> None:
        chunks = dataset.data.column(column).chunks
        self._values = [chunk.values.to_numpy() for chunk in chunks]
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._first_row = np.concatenate([[0], np.cumsum([len(chunk) for chunk in chunks])]).astype(np.int64)
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(offsets) for offsets in self._offsets)])

    def flat(self) -> np.ndarray:
        """All lists one after another, a copy."""
        parts = [values[offsets[0] : offsets[-1]] for values, offsets in zip(self._values, self._offsets, strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def padded(self, rows: np.ndarray, filled: np.ndarray) -> np.ndarray:
        """`filled`, [B, T], with the lists of these rows at the left."""
        chunks = np.searchsorted(self._first_row, rows, side="right") - 1
        places = zip(
            chunks.tolist(), (rows - self._first_row[chunks]).tolist(), self.lengths[rows].tolist(), strict=True
        )
        for target, (chunk, position, length) in zip(filled, places, strict=True):
            start = self._offsets[chunk][position]
            target[:length] = self._values[chunk][start : start + length]
        return filled


class Batches:
    """The batches of a split. Epoch and batch number decide a batch, so training resumes anywhere.

    tokens: column `input_ids`, int32 lists, and for sparse features `values`, float32 lists as long; memory-mapped and
    read a batch at a time. labels: CSR [N, L], sorted indices. pad_id: the token that fills rows on the right. part: of
    a batch's rows those that are read here, where other processes read the others.
    """

    def __init__(
        self,
        tokens: "Dataset",
        labels: csr_matrix,
        pad_id: int,
        batch_size: int,
        seed: int = 0,
        part: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ) -> None:
        if len(tokens) != labels.shape[0]:
            raise ValueError(f"tokens has {len(tokens)} documents, labels {labels.shape[0]}")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1")
        labels.check_format(full_check=True)  # so that no batch need be looked through
        self.labels = labels
        self.pad_id = pad_id
        self.batch_size = batch_size
        self.seed = seed
        self._part = part
        self._ids = _Lists(tokens, "input_ids")
        self._values = _Lists(tokens, "values") if "values" in tokens.column_names else None
        self.lengths = self._ids.lengths

    def whole(self) -> "Batches":
        """The same with all rows of each batch."""
        batches = copy.copy(self)
        batches._part = np.asarray
        return batches

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the short last one included."""
        return -(-len(self.lengths) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch number `start` on."""
        for rows in shuffled_rows(self.lengths, self.batch_size, self.seed, epoch)[start:]:
            yield self.batch(self._part(rows))

    def by_length(self, among: np.ndarray | None = None) -> Iterator[Batch]:
        """Every document once, longest first; `Batch.rows` puts results back in order. among: these rows alone."""
        chosen = np.arange(len(self.lengths)) if among is None else among
        for places in rows_by_length(self.lengths[chosen], self.batch_size):
            yield self.batch(self._part(chosen[places]))

    def flat_tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of all documents one after another, int32, and the offset of each document, int64 [N + 1]. A copy."""
        offsets = np.concatenate([[0], self.lengths.cumsum(dtype=np.int64)]).astype(np.int64)
        return self._ids.flat().astype(np.int32, copy=False), offsets

    def flat_values(self) -> np.ndarray | None:
        """Values of all documents one after another, float32; None where the documents are texts. A copy."""
        return None if self._values is None else self._values.flat()

    def batch(self, rows: np.ndarray) -> Batch:
        """The batch of these rows."""
        lengths = self.lengths[rows]
        width = max(1, int(lengths.max(initial=0)))
        input_ids = self._ids.padded(rows, np.full((len(rows), width), self.pad_id, dtype=np.int64))
        mask = np.arange(width) < lengths[:, None]
        values = None
        if self._values is not None:
            values = torch.from_numpy(self._values.padded(rows, np.zeros((len(rows), width), dtype=np.float32)))
        return Batch(
            torch.from_numpy(input_ids),
            torch.from_numpy(mask.astype(np.int64)),
            self._positives(rows),
            torch.from_numpy(np.array(rows, dtype=np.int64)),
            values,
        )

    def _positives(self, rows: np.ndarray) -> Positives:
        starts = self.labels.indptr[rows].astype(np.int64)
        counts = self.labels.indptr[rows + 1] - starts
        offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
        places = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        labels = self.labels.indices[places].astype(np.int64)
        return Positives(torch.from_numpy(offsets), torch.from_numpy(labels), checked=True)
