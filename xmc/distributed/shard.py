"""Who has what: contiguous parts of equal size, but for one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Shard:
    """The run [start, stop) of `of` things in a row."""

    start: int
    stop: int
    of: int

    @classmethod
    def whole(cls, number: int) -> Self:
        return cls(0, number, number)

    @classmethod
    def part(cls, number: int, rank: int, size: int) -> Self:
        """That of process `rank` of `size`; the parts differ by one at most, and make up all."""
        return cls(rank * number // size, (rank + 1) * number // size, number)

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Rows:
    """A tensor of which each process has some rows, such as the weights of its labels. lengths: how many, by rank."""

    own: Tensor
    lengths: tuple[int, ...]


class OwnRows(Mapping[str, Tensor]):
    """Saved tensors; of those that are `divided` the rows of a process alone, by `shard` of their number."""

    def __init__(
        self, saved: Mapping[str, Tensor], shard: Callable[[int], Shard], divided: Callable[[str], bool]
    ) -> None:
        self._saved = saved
        self._shard = shard
        self._divided = divided

    def __len__(self) -> int:
        return len(self._saved)

    def __iter__(self) -> Iterator[str]:
        return iter(self._saved)

    def __getitem__(self, name: str) -> Tensor:
        value = self._saved[name]
        return value[self._shard(len(value)).rows] if self._divided(name) else value
