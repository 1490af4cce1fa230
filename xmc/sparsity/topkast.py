"""Top-KAST: the largest weights of each label speak, somewhat more of them learn, the rest waits on the host."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from xmc.ops.blocks import label_slices
from xmc.ops.counter_rng import BELL_BOUND
from xmc.sparsity.store import WeightStore, initial_weights
from xmc.sparsity.strategy import OptimizerState, SparseLayer, Strategy

_BLOCK = 1 << 22  # numbers of an L x D weight that exist at once
_MEASURED = 1024  # rows from which the scale of the start is taken


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

    @torch.no_grad()
    def start(self, layer: SparseLayer, learned: Tensor | None = None) -> None:
        for rows in _runs(layer):
            weight_LD = self._store.read(rows)
            if learned is not None:
                columns, weight = layer.index[rows, : layer.active].long(), layer.weight[rows, : layer.active]
                mine = weight_LD.scatter(1, columns.cpu(), weight.to(weight_LD))
                weight_LD = torch.where(learned[rows, None].cpu(), mine, weight_LD)
            self._choose(layer, rows, weight_LD)

    @torch.no_grad()
    def prepare(self, layer: SparseLayer, lr: float) -> None:
        density = layer.active / layer.in_features
        layer.weight[:, : layer.active] *= max(0.0, 1 - lr * self._penalty)
        layer.weight[:, layer.active :] *= max(0.0, 1 - lr * self._penalty / density)

    def rewire(self, layer: SparseLayer, optimizer_state: OptimizerState, step: int) -> int:
        if layer.index.shape[1] == layer.active:
            return 0
        sources, moved = torch.empty(layer.index.shape, dtype=torch.int64, device=layer.index.device), 0
        for rows in _runs(layer):
            weight_LD = self._store.read(rows)
            columns = layer.index[rows].long().cpu()
            weight_LD.scatter_(1, columns, layer.weight[rows].detach().to(weight_LD))
            numbers = torch.arange(columns.shape[1]).expand_as(columns)
            slots = torch.full(weight_LD.shape, -1).scatter_(1, columns, numbers)
            self._choose(layer, rows, weight_LD)
            source = slots.gather(1, layer.index[rows].long().cpu())
            sources[rows] = source.to(sources.device)
            spoke = (source[:, : layer.active] >= 0) & (source[:, : layer.active] < layer.active)
            moved += int((~spoke).sum())
        optimizer_state.move(layer.weight, sources)
        return moved

    def tensors(self) -> dict[str, Tensor]:
        return self._store.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._store.load(tensors)

    @torch.no_grad()
    def _choose(self, layer: SparseLayer, rows: slice, weight_LD: Tensor) -> None:
        """Give the largest of these rows their slots, and the store what remains."""
        order = weight_LD.abs().argsort(dim=1, descending=True, stable=True)
        forward, backward = order[:, : layer.active], order[:, layer.active : layer.index.shape[1]]
        columns = torch.cat([forward.sort(dim=1).values, backward.sort(dim=1).values], dim=1)
        layer.index[rows] = columns.to(layer.index)
        layer.weight[rows] = weight_LD.gather(1, columns).to(layer.weight)
        elsewhere = torch.zeros_like(weight_LD, dtype=torch.bool).scatter_(1, columns, True)
        self._store.write(rows, weight_LD, elsewhere)


def scale_below(scale: float, weight_LK: Tensor, learned: Tensor) -> Tensor:
    """Scales of the start, float32 [L], with which what waits beside connections learned before is smaller than these.

    weight: [L, K], of the connections. learned: bool [L]; the others start at `scale`.
    """
    smallest = weight_LK.detach().abs().amin(1).float() / BELL_BOUND
    return torch.where(learned, smallest.clamp(max=scale), scale)


def initial_scale(n_labels: int, fan_in: int, in_features: int, bound: float, seed: int) -> float:
    """Standard deviation of the start with which the `fan_in` largest weights of a row have that of U(+-bound).

    Choosing by magnitude raises the mean square, of a normal distribution to 1 + z phi(z) / Q(z) of its variance with
    2 Q(z) = K / D. Here it is measured, on the very weights.
    """
    unit = initial_weights(slice(0, min(n_labels, _MEASURED)), in_features, 1.0, seed)
    return bound / math.sqrt(3) / float(unit.abs().topk(fan_in, dim=1).values.square().mean().sqrt())


def _runs(layer: SparseLayer) -> Iterator[slice]:
    yield from label_slices(len(layer.index), max(1, _BLOCK // layer.in_features))
