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

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must keep of it."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        ...


Scale = float | Tensor
"""Standard deviation of the start: one for all rows, or one each, float32 [L]."""


def initial_weights(
    rows: slice, in_features: int, scale: Scale, seed: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Rows of the weight at the start, float32 [l, D]: bell-shaped, of variance scale^2, by seed and place."""
    unit = bell_shaped(seed, torch.arange(rows.start, rows.stop, device=device), in_features)
    return unit * (scale[rows, None].to(device) if isinstance(scale, Tensor) else scale)


class HostStore:
    """All of it in memory: D numbers a label."""

    def __init__(self, n_labels: int, in_features: int, scale: Scale, seed: int, dtype: torch.dtype) -> None:
        self._weight = self._allocate((n_labels, in_features), dtype)
        for start in range(0, n_labels, 1024):
            rows = slice(start, min(start + 1024, n_labels))
            self._weight[rows] = initial_weights(rows, in_features, scale, seed)

    def read(self, rows: slice, device: torch.device) -> Tensor:
        weight = self._weight[rows]
        return weight.clone() if device.type == "cpu" else weight.to(device)

    def write(self, rows: slice, weight_LD: Tensor, elsewhere_LD: Tensor, touched_LK: Tensor | None) -> None:
        if touched_LK is None:
            self._weight[rows] = weight_LD
        else:
            self._weight[rows].scatter_(1, touched_LK.cpu(), weight_LD.gather(1, touched_LK).cpu())

    def tensors(self) -> dict[str, Tensor]:
        return {"store": self._weight}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._weight.copy_(tensors["store"])

    def _allocate(self, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype)


class MappedStore(HostStore):
    """All of it in a file that the system pages in and out. An existing file is replaced."""

    def __init__(
        self, n_labels: int, in_features: int, scale: Scale, seed: int, dtype: torch.dtype, path: Path
    ) -> None:
        self._path = path
        super().__init__(n_labels, in_features, scale, seed, dtype)

    def _allocate(self, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        size = math.prod(shape)
        return torch.from_file(str(self._path), shared=True, size=size, dtype=dtype).view(shape)


class ImplicitStore:
    """Only what once had a slot and lost it: 8 bytes and a number. The rest still is what it was at the start."""

    def __init__(self, in_features: int, scale: Scale, seed: int, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._in_features = in_features
        self._scale = scale
        self._seed = seed
        self._changed: dict[int, tuple[Tensor, Tensor]] = {}  # of each run of rows: places [n] and values [n]

    def read(self, rows: slice, device: torch.device) -> Tensor:
        weight = self._initial(rows, device)
        if rows.start in self._changed:
            places, values = self._changed[rows.start]
            weight.view(-1)[places.to(device)] = values.to(device)
        return weight

    def write(self, rows: slice, weight_LD: Tensor, elsewhere_LD: Tensor, touched_LK: Tensor | None) -> None:
        differs = (weight_LD != self._initial(rows, weight_LD.device)) & ~elsewhere_LD
        places = differs.flatten().nonzero().squeeze(1)
        self._changed[rows.start] = (places.cpu(), weight_LD.flatten()[places].cpu())

    def tensors(self) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        for start, (places, values) in self._changed.items():
            parts |= {f"store.{start}.places": places, f"store.{start}.values": values}
        return parts

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        starts = [int(name.split(".")[1]) for name in tensors if name.endswith(".places")]
        self._changed = {s: (tensors[f"store.{s}.places"], tensors[f"store.{s}.values"]) for s in starts}

    def _initial(self, rows: slice, device: torch.device) -> Tensor:
        return initial_weights(rows, self._in_features, self._scale, self._seed, device).to(self._dtype)
