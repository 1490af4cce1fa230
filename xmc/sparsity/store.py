"""Where the weights live that have no slot on the device: on the host, all L x D of them.

Three stores with one behaviour. `HostStore` is a tensor in memory, `MappedStore` a file, and `ImplicitStore` keeps only
what differs from the start, which a counter-based generator gives back at any time.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from xmc.distributed import ALONE, Processes, Rows, Shard
from xmc.ops.counter_rng import bell_shaped


class WeightStore(Protocol):
    """Rows of an L x D weight on the host. What it says of a connection that has a slot elsewhere means nothing."""

    def read(self, rows: slice, device: torch.device) -> Tensor:
        """A copy of a run of rows, [l, D] in the type of the layer's weight, on the device."""
        ...

    def write(self, rows: slice, weight_LD: Tensor, elsewhere_LD: Tensor, touched_LK: Tensor | None) -> None:
        """Take over a run of rows from their device, always the same runs. elsewhere: bool [l, D], connections that
        have a slot. touched: int64 [l, K], columns that may have another weight than was read; None: all may."""
        ...

    def tensors(self) -> dict[str, Tensor | Rows]:
        """What a checkpoint must keep of it."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        ...


Scale = float | Tensor
"""Standard deviation of the start: one for all rows, or one each, float32 [L]."""


def initial_weights(
    rows: slice, in_features: int, scale: Scale, seed: int, device: torch.device | str = "cpu", first_row: int = 0
) -> Tensor:
    """Rows of the weight at the start, float32 [l, D]: bell-shaped, of variance scale^2, by seed and place.

    first_row: of a shard, its number among all.
    """
    unit = bell_shaped(seed, torch.arange(rows.start, rows.stop, device=device) + first_row, in_features)
    return unit * (scale[rows, None].to(device) if isinstance(scale, Tensor) else scale)


class HostStore:
    """All of it in memory: D numbers a label. shard: the rows that are here, where `processes` have the others."""

    def __init__(
        self,
        n_labels: int,
        in_features: int,
        scale: Scale,
        seed: int,
        dtype: torch.dtype,
        shard: Shard | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self._shard = shard or Shard.whole(n_labels)
        self._processes = processes
        self._weight = self._allocate((n_labels, in_features), dtype)
        for start in range(0, n_labels, 1024):
            rows = slice(start, min(start + 1024, n_labels))
            self._weight[rows] = initial_weights(rows, in_features, scale, seed, "cpu", self._shard.start)

    def read(self, rows: slice, device: torch.device) -> Tensor:
        weight = self._weight[rows]
        return weight.clone() if device.type == "cpu" else weight.to(device)

    def write(self, rows: slice, weight_LD: Tensor, elsewhere_LD: Tensor, touched_LK: Tensor | None) -> None:
        if touched_LK is None:
            self._weight[rows] = weight_LD
        else:
            self._weight[rows].scatter_(1, touched_LK.cpu(), weight_LD.gather(1, touched_LK).cpu())

    def tensors(self) -> dict[str, Tensor | Rows]:
        return {"store": self._processes.rows(self._weight)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._weight.copy_(tensors["store"][self._shard.rows])

    def _allocate(self, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype)


class MappedStore(HostStore):
    """All of it in a file that the system pages in and out. An existing file is replaced."""

    def __init__(
        self,
        n_labels: int,
        in_features: int,
        scale: Scale,
        seed: int,
        dtype: torch.dtype,
        path: Path,
        shard: Shard | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self._path = path
        super().__init__(n_labels, in_features, scale, seed, dtype, shard, processes)

    def _allocate(self, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        size = math.prod(shape)
        return torch.from_file(str(self._path), shared=True, size=size, dtype=dtype).view(shape)


class ImplicitStore:
    """Only what once had a slot and lost it: 8 bytes and a number. The rest still is what it was at the start.

    shard, processes: as for a `HostStore`. In a checkpoint a place is counted from the first row of all.
    """

    def __init__(
        self,
        in_features: int,
        scale: Scale,
        seed: int,
        dtype: torch.dtype,
        shard: Shard | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self._first_row = 0 if shard is None else shard.start
        self._end = None if shard is None else shard.stop
        self._processes = processes
        self._loaded = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=dtype)  # by place among all
        self._dtype = dtype
        self._in_features = in_features
        self._scale = scale
        self._seed = seed
        self._changed: dict[int, tuple[Tensor, Tensor]] = {}  # of each run of rows: places [n] and values [n]

    def read(self, rows: slice, device: torch.device) -> Tensor:
        weight = self._initial(rows, device)
        places, values = self._changed[rows.start] if rows.start in self._changed else self._loaded_of(rows)
        weight.view(-1)[places.to(device)] = values.to(device)
        return weight

    def write(self, rows: slice, weight_LD: Tensor, elsewhere_LD: Tensor, touched_LK: Tensor | None) -> None:
        differs = (weight_LD != self._initial(rows, weight_LD.device)) & ~elsewhere_LD
        places = differs.flatten().nonzero().squeeze(1)
        self._changed[rows.start] = (places.cpu(), weight_LD.flatten()[places].cpu())

    def tensors(self) -> dict[str, Tensor | Rows]:
        changed = sorted(self._changed.items())
        if not changed:
            places, values = self._loaded
        else:
            places = torch.cat([places + self._place(start) for start, (places, _) in changed])
            values = torch.cat([values for _, (_, values) in changed])
        return {"store.places": self._processes.rows(places), "store.values": self._processes.rows(values)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._changed.clear()
        if "store.places" in tensors:
            places, values = tensors["store.places"], tensors["store.values"]
        else:  # of an older checkpoint: by run of rows, by its first one
            starts = sorted(int(name.split(".")[1]) for name in tensors if name.endswith(".places"))
            parts = [tensors[f"store.{start}.places"] + start * self._in_features for start in starts]
            places = torch.cat([*parts, torch.empty(0, dtype=torch.int64)])
            values = torch.cat([*(tensors[f"store.{start}.values"] for start in starts), self._loaded[1][:0]])
        own = self._between(places, self._first_row, self._end)
        self._loaded = places[own].clone(), values[own].clone()

    def _loaded_of(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Places in a run of rows, and values."""
        places, values = self._loaded
        own = self._between(places, rows.start + self._first_row, rows.stop + self._first_row)
        return places[own] - self._place(rows.start), values[own]

    def _between(self, places: Tensor, first: int, last: int | None) -> slice:
        """Which of the places, ascending, lie in these rows of all."""
        bounds = torch.tensor([first, first if last is None else last]) * self._in_features
        start, stop = torch.searchsorted(places, bounds).tolist()
        return slice(start, None if last is None else stop)

    def _place(self, row: int) -> int:
        """Of a row of this shard's, among all."""
        return (row + self._first_row) * self._in_features

    def _initial(self, rows: slice, device: torch.device) -> Tensor:
        own = initial_weights(rows, self._in_features, self._scale, self._seed, device, self._first_row)
        return own.to(self._dtype)
