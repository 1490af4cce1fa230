"""RigL: drop the smallest connections, grow those whose absence the loss regrets most."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from xmc.ops.blocks import group_size, label_slices
from xmc.sparsity.schedule import cosine_decay
from xmc.sparsity.strategy import Layer, OptimizerState, Strategy
from xmc.sparsity.topology import Growth, absent_columns, by_group, fraction_to_drop, rewire_
from xmc.types import Evidence, InnerEvidence, Rewire, evidence_of

_BLOCK = 1 << 22  # numbers of a dense gradient that exist at once


class RigL(Strategy):
    """RigL (Evci et al., ICML 2020), with the cheap variant of guided exploration (arXiv 2401.06898).

    Drops by magnitude, grows where the gradient is largest in magnitude; what was just dropped may grow again, from 0.
    candidates: "all" absent columns, whose gradients are formed a block of labels at a time, or a "sample" of K.
    initial: share of a row's connections to drop at step 0; it falls by half a cosine to 0 at `end`, the first step
    without rewiring. interval: steps between rewirings. batches: the last so many count towards the gradient.
    seed: of the samples. offset: global number of the first row of the layer's index.
    """

    def __init__(
        self,
        initial: float,
        interval: int,
        end: int,
        seed: int,
        *,
        candidates: Literal["all", "sample"] = "all",
        batches: int = 1,
        offset: int = 0,
    ) -> None:
        self._initial = initial
        self._interval = interval
        self._end = end
        self._seed = seed
        self._candidates = candidates
        self._offset = offset
        self._seen: deque[Evidence | InnerEvidence] = deque(maxlen=batches)

    def due(self, step: int) -> bool:
        return 0 < step < self._end and step % self._interval == 0

    def observes(self, step: int) -> bool:
        until = -step % self._interval
        return until < (self._seen.maxlen or 1) and self.due(step + until)

    def observe(self, evidence: Evidence | InnerEvidence) -> None:
        self._seen.append(evidence)

    def rewire(self, layer: Layer, optimizer_state: OptimizerState, step: int) -> Rewire:
        seen = [evidence.to(layer.weight.device) for evidence in self._seen]  # a checkpoint was read to the CPU
        counts = fraction_to_drop(layer.index, cosine_decay(step, self._initial, self._end))
        growth = gradient_growth(layer, seen) if self._candidates == "all" else self._among_a_sample(layer, seen, step)
        moved, rewire = rewire_(layer.weight, layer.index, counts, layer.in_features, growth)
        if rewire.grown:
            optimizer_state.reset(layer.weight, moved)
        self._seen.clear()
        return rewire

    def tensors(self) -> dict[str, Tensor]:
        return {f"{i}.{name}": value for i, seen in enumerate(self._seen) for name, value in seen.tensors().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._seen.clear()
        for i in sorted({int(name.split(".")[0]) for name in tensors}):
            prefix = f"{i}."
            mine = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            self._seen.append(evidence_of(mine))

    def _among_a_sample(self, layer: Layer, seen: list[Evidence | InnerEvidence], step: int) -> Growth:
        fan_in, size = layer.index.shape[1], group_size(len(layer.weight), len(layer.index))
        many = min(fan_in, layer.in_features - fan_in)
        sample = absent_columns(layer.index, many, layer.in_features, seed=self._seed, step=step, offset=self._offset)
        total = sum(layer.gradient_at(evidence, sample) for evidence in seen)
        scores = by_group(torch.as_tensor(total).abs(), size)

        def grow(groups: slice, dropped: Tensor, counts: Tensor, most: int) -> Tensor:
            return sample[groups].gather(1, scores[groups].topk(most, dim=1).indices).long()

        return grow


def gradient_growth(layer: Layer, seen: Sequence[Evidence | InnerEvidence]) -> Growth:
    """Columns at which the gradient over these batches is largest in magnitude, a block of labels at a time."""
    size = group_size(len(layer.weight), len(layer.index))
    block = max(1, _BLOCK // layer.in_features // size)

    def grow(groups: slice, dropped: Tensor, counts: Tensor, most: int) -> Tensor:
        columns = []
        for part in label_slices(groups.stop - groups.start, block):
            rows = slice(groups.start + part.start, groups.start + part.stop)
            labels = slice(rows.start * size, min(rows.stop * size, len(layer.weight)))
            total = sum(layer.dense_gradient(evidence, labels) for evidence in seen)
            scores = by_group(torch.as_tensor(total).abs(), size)
            present = layer.index[rows].long()
            kept = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, present, ~dropped[part])
            columns.append(scores.masked_fill_(kept, -1).topk(most, dim=1).indices)
        return torch.cat(columns)

    return grow
