"""The processes of a job, and what they do together.

Sums are taken in the order of ranks, so that the same number of processes gives the same bits again, whatever algorithm
the library beneath would choose. Parts of different length are filled up on the way.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xmc.distributed.shard import Rows, Shard
from xmc.errors import XMCError
from xmc.job import Place

_BUCKET = 8 << 20  # numbers that are added up together
_BLOCK = 64 << 20  # bytes of rows that are sent at once


class LostProcess(XMCError):
    """Another process of the job has ended, and this one cannot go on without it."""


class Processes:
    """The processes of a job as one of them sees them. This is a process alone: what all have is what it has."""

    rank = 0
    size = 1
    local_rank = 0
    sent = 0
    """Bytes that left this process so far, as tensors that all exchange."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def shard(self, number: int) -> Shard:
        """Which of so many things in a row are this process's."""
        return Shard.part(number, self.rank, self.size)

    def part(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of these rows those that are this process's."""
        return rows

    def shard_of_labels(self, number: int, what: str = "labels") -> Shard:
        """Likewise of what each must have one of.

        Raises:
            XMCError: there are fewer.
        """
        if number < self.size:
            raise XMCError(f"{number} {what}: fewer than the {self.size} processes that would share them; start fewer")
        return self.shard(number)

    def meet(self) -> None:
        """Wait until all processes have come here."""
        self.all_of(0)

    def all_of(self, *numbers: int) -> list[tuple[int, ...]]:
        """The numbers that each process gives, by rank."""
        return [numbers]

    def total(self, value: float) -> float:
        """The sum of what each process gives, in the order of ranks."""
        return value

    def gather(self, *tensors: Tensor) -> Sequence[Tensor]:
        """Of each tensor the rows of all processes, in the order of ranks."""
        return tensors

    def number_of_first(self, own: int) -> int:
        """What the first process gives."""
        ((number,), *_) = self.all_of(own)
        return number

    def of_first(self, make: Callable[[], Tensor]) -> Tensor:
        """Whole numbers, int64 [n], that the first process makes for all."""
        (made,) = self.gather(make() if self.is_first else torch.empty(0, dtype=torch.int64))
        return made

    def exchange(self, tensor: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """The rows of this process in the tensors of all, which are of one shape, [size, l, ...].

        lengths: how many each process has, by rank; None: by `shard`.
        """
        return tensor[None]

    def scatter_sum(self, tensor: Tensor) -> Tensor:
        """Likewise in the sum of the tensors of all."""
        return tensor

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put in each tensor's place the sum over all processes."""

    def rows(self, own: Tensor) -> Tensor | Rows:
        """The tensor of which each process has some rows, as it is to be saved."""
        return own

    def blocks(self, tensor: Tensor | Rows) -> Iterator[Tensor]:
        """The bytes of a tensor on the first process, on the CPU, a block at a time; others send theirs and get none.

        All processes ask for the same tensors in the same order, and take all blocks.
        """
        own = tensor.own if isinstance(tensor, Rows) else tensor
        yield from _bytes_of(own)


class Group(Processes):
    """Several processes. What they do together is made of what `_all_gather`, `_all_to_all`, `_send` and `_receive` do,
    by `torch.distributed`'s default group, which has gloo for tensors on the CPU."""

    def __init__(self, place: Place) -> None:
        self.rank = place.rank
        self.size = place.size
        self.local_rank = place.local_rank

    def part(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[self.shard(len(rows)).rows]

    def all_of(self, *numbers: int) -> list[tuple[int, ...]]:
        own = torch.tensor([numbers], dtype=torch.int64)
        return [tuple(row) for row in self._everyones(own).tolist()]

    def total(self, value: float) -> float:
        own = torch.tensor([value], dtype=torch.float64)
        return sum(self._everyones(own).tolist())

    def gather(self, *tensors: Tensor) -> Sequence[Tensor]:
        lengths = zip(*self.all_of(*map(len, tensors)), strict=True)
        return [self._gathered(tensor, of_all) for tensor, of_all in zip(tensors, lengths, strict=True)]

    def exchange(self, tensor: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        if lengths is None:
            lengths = [len(Shard.part(len(tensor), rank, self.size)) for rank in range(self.size)]
        self.sent += (len(tensor) - lengths[self.rank]) * tensor[:1].nbytes
        return self._all_to_all(tensor.contiguous(), lengths).view(self.size, lengths[self.rank], *tensor.shape[1:])

    def scatter_sum(self, tensor: Tensor) -> Tensor:
        return _sum(self.exchange(tensor))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            each = -(-len(flat) // self.size)
            own = self.scatter_sum(_filled(flat, each * self.size))
            everyone = self._everyones(own)[: len(flat)]
            for tensor, total in zip(bucket, everyone.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(total.view(tensor.shape))

    def rows(self, own: Tensor) -> Rows:
        return Rows(own, tuple(length for (length,) in self.all_of(len(own))))

    def blocks(self, tensor: Tensor | Rows) -> Iterator[Tensor]:
        if not isinstance(tensor, Rows):
            if self.is_first:
                yield from _bytes_of(tensor)
            return
        if not self.is_first:
            for block in _bytes_of(tensor.own):
                self._send(block, 0)
                self.sent += block.nbytes
            return
        yield from _bytes_of(tensor.own)
        row = math.prod(tensor.own.shape[1:]) * tensor.own.element_size()
        for rank, length in enumerate(tensor.lengths[1:], 1):
            left = length * row
            while left:
                block = torch.empty(min(_BLOCK, left), dtype=torch.uint8)
                self._receive(block, rank)
                yield block
                left -= len(block)

    def _gathered(self, tensor: Tensor, lengths: Sequence[int]) -> Tensor:
        if not (longest := max(lengths)):
            return tensor
        everyone = self._everyones(_filled(tensor, longest))
        if min(lengths) == longest:
            return everyone
        return torch.cat([part[:length] for part, length in zip(everyone.split(longest), lengths, strict=True)])

    def _everyones(self, own: Tensor) -> Tensor:
        self.sent += (self.size - 1) * own.nbytes
        return self._all_gather(own)

    def _all_gather(self, own: Tensor) -> Tensor:
        """The tensors of all processes, which have one shape, behind one another."""
        everyone = own.new_empty(self.size * len(own), *own.shape[1:])
        with _together() as dist:
            dist.all_gather([*everyone.split(len(own))], own)
        return everyone

    def _all_to_all(self, tensor: Tensor, lengths: Sequence[int]) -> Tensor:
        """Of the tensors of all processes the rows that are this one's, behind one another. lengths: of all."""
        own = lengths[self.rank]
        parts = tensor.new_empty(self.size * own, *tensor.shape[1:])
        with _together() as dist:
            dist.all_to_all_single(parts, tensor, [own] * self.size, [*lengths])
        return parts

    def _send(self, block: Tensor, rank: int) -> None:
        with _together() as dist:
            dist.send(block, rank)

    def _receive(self, block: Tensor, rank: int) -> None:
        with _together() as dist:
            dist.recv(block, rank)


ALONE = Processes()


@contextmanager
def _together() -> Iterator[ModuleType]:
    """torch.distributed; what it raises where another process has gone, as one clear error."""
    import torch.distributed as dist

    try:
        yield dist
    except RuntimeError as error:
        raise LostProcess(
            "another process of the job has ended, and this one cannot go on without it "
            f"({str(error).partition(chr(10))[0]:.120}); start the job anew, and a run goes on from its last checkpoint"
        ) from None


def _bytes_of(tensor: Tensor) -> Iterator[Tensor]:
    """uint8, on the CPU, at most `_BLOCK` at a time, and none where there are none."""
    flat = tensor.detach().contiguous().view(-1)
    for block in flat.split(_BLOCK // tensor.element_size()) if len(flat) else ():
        yield block.cpu().view(torch.uint8)


def _filled(tensor: Tensor, length: int) -> Tensor:
    """With rows of zeros behind, so many in all."""
    missing = length - len(tensor)
    if not missing:
        return tensor.contiguous()
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, missing])


def _sum(parts: Tensor) -> Tensor:
    """Over the first dimension, one part after the other, those of half precision in float32."""
    half = parts.is_floating_point() and parts.element_size() < 4
    total = parts[0].float() if half else parts[0].clone()
    for part in parts[1:]:
        total += part
    return total.to(parts.dtype)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of tensors of one type that are added up together."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (bucket[0].dtype != tensor.dtype or sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
