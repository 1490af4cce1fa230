"""Several processes, played by threads of this one: the same code over another exchange, and no time to start."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from torch import Tensor

from xmc.distributed.processes import Group
from xmc.job import Place

T = TypeVar("T")


class Board:
    """Where the threads put what the others take."""

    def __init__(self, size: int) -> None:
        self.places: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=20)
        self.sent: list[SimpleQueue[Tensor]] = [SimpleQueue() for _ in range(size)]


class ThreadGroup(Group):
    """One of the threads."""

    def __init__(self, rank: int, size: int, board: Board) -> None:
        super().__init__(Place(rank, size, rank))
        self._board = board

    def _swap(self, own: T) -> list[T]:
        self._board.places[self.rank] = own
        self._board.barrier.wait()
        everyone = list(self._board.places)
        self._board.barrier.wait()
        return everyone

    def _all_gather(self, own: Tensor) -> Tensor:
        return torch.cat(self._swap(own.clone()))

    def _all_to_all(self, tensor: Tensor, lengths: Sequence[int]) -> Tensor:
        return torch.cat([parts[self.rank] for parts in self._swap(tensor.clone().split([*lengths]))])

    def _send(self, block: Tensor, rank: int) -> None:
        self._board.sent[self.rank].put(block.clone())

    def _receive(self, block: Tensor, rank: int) -> None:
        block.copy_(self._board.sent[rank].get(timeout=20))


def together(size: int, work: Callable[[ThreadGroup], T]) -> list[T]:
    """What each of so many processes gives, by rank."""
    board = Board(size)

    def of(rank: int) -> T:
        try:
            return work(ThreadGroup(rank, size, board))
        except BaseException:
            board.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(of, rank) for rank in range(size)]
    for future in sorted(futures, key=lambda f: isinstance(f.exception(), threading.BrokenBarrierError)):
        future.result()  # the cause before what follows from it
    return [future.result() for future in futures]
