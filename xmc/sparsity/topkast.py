"""Top-KAST: the largest weights of each label speak, somewhat more of them learn, the rest waits on the host."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from xmc.sparsity.strategy import OptimizerState, Site, SparseLayer, SparsitySection, Strategy
from xmc.values import Count, NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.distributed import Rows
    from xmc.sparsity.store import WeightStore

_BLOCK = 1 << 22  # numbers of an L x D weight that exist at once
_CHOSEN = 150  # bytes a number of them while it is drawn, sorted and scattered (measured)
_MEASURED = 1024  # rows from which the scale of the start is taken


class TopKastSparsity(SparsitySection):
    """Top-KAST: the largest weights of each label speak, somewhat more of them learn, the rest waits on the host."""

    learns_beyond_output: ClassVar[bool] = True
    divides: ClassVar[bool] = True

    kind: Literal["topkast"] = "topkast"
    backward: Annotated[float, Field(ge=1)] = 2.0
    """connections that learn, as a multiple of classifier.fan_in"""
    refresh: Count | None = None
    """steps between two choices of the largest; null: a quarter of the run's, from 10 to 100"""
    penalty: NonNegative = 1e-4
    """shrinks weights before each step, those that only learn by D / fan_in as much"""
    store: Literal["host", "mapped", "implicit"] = "implicit"
    """of the weights that wait: host (memory), mapped (a file in the run's folder) or implicit (only those that once
    learned; what never did is drawn anew from the seed)"""

    def build(self, site: Site) -> Strategy:
        return TopKast(self._store(site), self.refresh or site.interval, self.penalty)

    def _store(self, site: Site) -> WeightStore:
        from xmc.distributed import ALONE, Shard
        from xmc.sparsity.store import HostStore, ImplicitStore, MappedStore

        layer, learned = site.layer, site.learned
        assert learned is not None
        labels, features, dtype = len(layer.weight), layer.in_features, layer.weight.dtype
        shard, processes = site.shard or Shard.whole(labels), site.processes or ALONE
        plain = initial_scale(shard.of, layer.active, features, site.bound, site.seed)
        scale = scale_below(plain, layer.weight[:, : layer.active], learned).cpu() if learned.any() else plain
        match self.store:
            case "host":
                return HostStore(labels, features, scale, site.seed, dtype, shard, processes)
            case "mapped":
                file = site.folder / f"waiting-weights{f'-{processes.rank}' if processes.rank else ''}.bin"
                return MappedStore(labels, features, scale, site.seed, dtype, file, shard, processes)
            case "implicit":
                return ImplicitStore(features, scale, site.seed, dtype, shard, processes)

    def slots(self, fan_in: int, in_features: int) -> int:
        return min(in_features, round(self.backward * fan_in))

    def why_idle(self, layer: SparseLayer, step: int, total_steps: int) -> str | None:
        stay = layer.index.shape[1] == layer.active
        return "none learn but those that speak; raise sparsity.backward" if stay else None

    def sooner(self, total_steps: int) -> str:
        soon = total_steps // 3
        return f"set sparsity.refresh={soon}, or train longer" if soon else super().sooner(total_steps)

    def rewiring_bytes(self, labels: int, groups: int, slots: int, width: int) -> int:
        return 16 * labels * slots + _CHOSEN * min(_BLOCK, labels * width)

    def waiting_bytes(self, labels: int, width: int) -> tuple[int, int]:
        waiting = 4 * labels * width
        return waiting * (self.store == "host"), waiting * (self.store == "mapped")

    def beyond_estimates(self, fan_in: int, in_features: int) -> Iterator[str]:
        if self.store == "implicit":
            more = self.slots(fan_in, in_features) - fan_in
            yield f"what an implicit store comes to hold: 12 bytes a weight that lost its slot, {more} a label at first"

    def remedies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.store == "host":
            yield "sparsity.store=implicit", {"sparsity.store": "implicit"}


class TopKast(Strategy):
    """Top-KAST (Jayakumar et al., NeurIPS 2020, arXiv 2106.03517), exact.

    Of all D weights of a label, the K largest in magnitude are its forward set A; with the next M they are its backward
    set B. Output and gradient of the features come from A alone, the gradient reaches all of B, the rest stays bit for
    bit. A has the first `active` slots of the layer, B \\ A the others, each by ascending column; of equal magnitudes
    the lower column is the larger. Sets are chosen anew every `refresh` steps, to the end of training; with M = 0,
    where nothing outside A ever learns, they stay.

    penalty: of exploration, decoupled: before a step at learning rate lr, weights of A shrink by lr * penalty, those of
    B \\ A by lr * penalty * D / K.
    """

    def __init__(self, store: WeightStore, refresh: int, penalty: float) -> None:
        self._store = store
        self._refresh = refresh
        self._penalty = penalty

    def due(self, step: int) -> bool:
        return step > 0 and step % self._refresh == 0

    def start(self, layer: SparseLayer, learned: Tensor | None = None) -> None:
        import torch

        for rows in _runs(layer):
            weight_LD = self._store.read(rows, layer.weight.device)
            if learned is not None:
                columns, weight = layer.index[rows, : layer.active].long(), layer.weight.detach()[rows, : layer.active]
                mine = weight_LD.scatter(1, columns, weight.to(weight_LD))
                weight_LD = torch.where(learned[rows, None].to(weight_LD.device), mine, weight_LD)
            self._choose(layer, rows, weight_LD, None)

    def prepare(self, layer: SparseLayer, step: int, lr: float) -> None:
        density, weight = layer.active / layer.in_features, layer.weight.detach()
        weight[:, : layer.active] *= max(0.0, 1 - lr * self._penalty)
        weight[:, layer.active :] *= max(0.0, 1 - lr * self._penalty / density)

    def rewire(self, layer: SparseLayer, optimizer_state: OptimizerState, step: int) -> int:
        import torch

        if layer.index.shape[1] == layer.active:
            return 0
        device = layer.weight.device
        sources = torch.empty(layer.index.shape, dtype=torch.int64, device=device)
        moved = torch.zeros((), dtype=torch.int64, device=device)
        for rows in _runs(layer):
            weight_LD = self._store.read(rows, device)
            columns = layer.index[rows].long()
            weight_LD.scatter_(1, columns, layer.weight[rows].detach().to(weight_LD))
            numbers = torch.arange(columns.shape[1], device=device).expand_as(columns)
            slots = torch.full(weight_LD.shape, -1, device=device).scatter_(1, columns, numbers)
            self._choose(layer, rows, weight_LD, columns)
            sources[rows] = source = slots.gather(1, layer.index[rows].long())
            spoke = (source[:, : layer.active] >= 0) & (source[:, : layer.active] < layer.active)
            moved += (~spoke).sum()
        optimizer_state.move(layer.weight, sources)
        return int(moved)

    def tensors(self) -> dict[str, Tensor | Rows]:
        return self._store.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._store.load(tensors)

    def _choose(self, layer: SparseLayer, rows: slice, weight_LD: Tensor, touched_LK: Tensor | None) -> None:
        """Give the largest of these rows their slots, and the store what remains. touched: as the store's `write`."""
        import torch

        from xmc.ops.topk import ordered_topk

        _, order = ordered_topk(weight_LD.abs(), layer.index.shape[1])
        forward, backward = order[:, : layer.active], order[:, layer.active :]
        columns = torch.cat([forward.sort(dim=1).values, backward.sort(dim=1).values], dim=1)
        layer.index[rows] = columns.to(layer.index)
        layer.weight.detach()[rows] = weight_LD.gather(1, columns).to(layer.weight)
        elsewhere = torch.zeros_like(weight_LD, dtype=torch.bool).scatter_(1, columns, True)
        self._store.write(rows, weight_LD, elsewhere, touched_LK)


def scale_below(scale: float, weight_LK: Tensor, learned: Tensor) -> Tensor:
    """Scales of the start, float32 [L], with which what waits beside connections learned before is smaller than these.

    weight: [L, K], of the connections. learned: bool [L]; the others start at `scale`.
    """
    import torch

    from xmc.ops.counter_rng import BELL_BOUND

    smallest = weight_LK.detach().abs().amin(1).float() / BELL_BOUND
    return torch.where(learned, smallest.clamp(max=scale), scale)


def initial_scale(n_labels: int, fan_in: int, in_features: int, bound: float, seed: int) -> float:
    """Standard deviation of the start with which the `fan_in` largest weights of a row have that of U(+-bound).

    Choosing by magnitude raises the mean square, of a normal distribution to 1 + z phi(z) / Q(z) of its variance with
    2 Q(z) = K / D. Here it is measured, on the very weights.
    """
    from xmc.sparsity.store import initial_weights

    unit = initial_weights(slice(0, min(n_labels, _MEASURED)), in_features, 1.0, seed)
    return bound / math.sqrt(3) / float(unit.abs().topk(fan_in, dim=1).values.square().mean().sqrt())


def _runs(layer: SparseLayer) -> Iterator[slice]:
    from xmc.ops.blocks import label_slices

    yield from label_slices(len(layer.index), max(1, _BLOCK // layer.in_features))
