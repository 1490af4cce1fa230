"""Values that travel between the rooms of the package, and the legend of shape letters.

Tensor names end in their shape where it helps (`features_BD`):

    N documents of a split      B documents of a batch     T tokens of a document
    V vocabulary                D features                 L labels
    K fan-in of a label         C label clusters           P positives of a batch
    G groups of labels          k length of a ranked list
    I, O inputs and outputs of a layer inside the network; there N counts its rows
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to import, and `xmc --help` needs none
    import torch
    from torch import Tensor

_LARGEST = float(np.finfo(np.float32).max)
_CHUNK = 1 << 16  # strings
_WHOLE = re.compile("-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Positives:
    """The positive labels of B documents as CSR: document `i` has `labels[offsets[i]:offsets[i + 1]]`.

    offsets: int64 [B + 1], from 0 to P. labels: int64 [P], ascending and without repeats in each document. checked:
    this is known of them, so that an op need not look through them, nor wait for a GPU to do so.
    """

    offsets: Tensor
    labels: Tensor
    checked: bool = False

    @classmethod
    def of_pairs(cls, documents: Tensor, labels: Tensor, batch: int) -> Positives:
        """From a document and a label each, int64 [P], ascending by document."""
        counts = documents.bincount(minlength=batch)
        offsets = counts.new_zeros(batch + 1)
        offsets[1:] = counts.cumsum(0)
        return cls(offsets, labels)

    def __len__(self) -> int:
        return self.offsets.numel() - 1

    def documents(self) -> Tensor:
        """Row of each positive, int64 [P]."""
        rows = self.offsets.new_ones(len(self)).cumsum(0) - 1
        return rows.repeat_interleave(self.offsets.diff(), output_size=self.labels.numel())

    def to(self, device: torch.device | str) -> Positives:
        return Positives(_sent(self.offsets, device), _sent(self.labels, device), self.checked)

    def pinned(self) -> Positives:
        return Positives(self.offsets.pin_memory(), self.labels.pin_memory(), self.checked)


@dataclass(frozen=True, slots=True)
class FanIn:
    """L labels, each connected to K of D features.

    weight: [L, K]. index: [G, K], the columns in [0, D), int16 while D <= 32767, else int32. bias: [L], float32 beside
    weights of half precision, else of their type. G = L gives each label columns of its own; a smaller G gives each
    group of n labels the same ones, where label l belongs to group l // n and only the last group may be smaller. A
    column that a row repeats counts as often. All tensors are contiguous and on one device.

    active: only the first so many slots of a row enter the output and the gradient of the features, while the weight
    gradient covers all K (the sets A and B of Top-KAST, arXiv 2106.03517); all, if None. label_offset: global id of the
    first label, for a shard of the labels. labels_a_group: n, where it is not L / G rounded up, as in a `part` that
    ends in a smaller group.
    """

    weight: Tensor
    index: Tensor
    bias: Tensor
    active: int | None = None
    label_offset: int = 0
    labels_a_group: int | None = None

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def fan_in(self) -> int:
        """K."""
        return self.weight.shape[1]

    @property
    def n_active(self) -> int:
        """How many slots of a row enter the output."""
        return self.fan_in if self.active is None else self.active

    @property
    def group_size(self) -> int:
        """Labels that share a row of the index."""
        return self.labels_a_group or group_size(len(self.weight), len(self.index))

    def part(self, groups: slice) -> FanIn:
        """A run of the groups, in the same memory."""
        size = self.group_size
        labels = slice(groups.start * size, min(groups.stop * size, len(self)))
        tensors = self.weight[labels], self.index[groups], self.bias[labels]
        return FanIn(*tensors, self.active, self.label_offset + labels.start, size)

    def columns(self, labels: slice) -> Tensor:
        """Columns of a run of labels, [l, K]."""
        size = self.group_size
        if size == 1:
            return self.index[labels]
        first = labels.start // size
        rows = self.index[first : -(-labels.stop // size)].repeat_interleave(size, 0)
        return rows[labels.start - first * size :][: labels.stop - labels.start]

    def active_connections(self, labels: slice) -> tuple[Tensor, Tensor]:
        """Weights and columns of the active slots of a run of labels, [l, active] each."""
        return self.weight[labels, : self.n_active], self.columns(labels)[:, : self.n_active]


def group_size(n_labels: int, n_groups: int) -> int:
    """Labels that share a row of the index [G, K]: label l belongs to group l // size; the last may be smaller."""
    return -(-n_labels // n_groups)


@dataclass(frozen=True, slots=True)
class Batch:
    """B tokenised documents.

    input_ids, attention_mask: int64 [B, T], padded on the right. rows: int64 [B], each document's row in its split.
    values: float32 [B, T], what each id weighs in a document of sparse features; None: the ids are tokens of a text.
    """

    input_ids: Tensor
    attention_mask: Tensor
    positives: Positives
    rows: Tensor
    values: Tensor | None = None

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """On the device, which a batch in pinned memory reaches without the host waiting for it."""
        return Batch(
            _sent(self.input_ids, device),
            _sent(self.attention_mask, device),
            self.positives.to(device),
            _sent(self.rows, device),
            None if self.values is None else _sent(self.values, device),
        )

    def pinned(self) -> Batch:
        """In memory that a GPU reads by itself."""
        return Batch(
            self.input_ids.pin_memory(),
            self.attention_mask.pin_memory(),
            self.positives.pinned(),
            self.rows.pin_memory(),
            None if self.values is None else self.values.pin_memory(),
        )


@dataclass(frozen=True, slots=True)
class TopK:
    """The k best labels of each document, best first; equal scores rank by ascending label.

    scores: float32 [B, k], logits. labels: int64 [B, k]. Where fewer than k candidates exist the tail is -inf and -1.
    """

    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]

    @staticmethod
    def cat(parts: list[TopK]) -> TopK:
        import torch

        return TopK(torch.cat([p.scores for p in parts]), torch.cat([p.labels for p in parts]))


@dataclass(frozen=True, slots=True)
class InPlaceUpdate:
    """One step of SGD on a classifier. seed and step choose the random numbers that round weights of bfloat16."""

    lr: float
    weight_decay: float = 0.0
    seed: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What one streaming pass over the labels gives back.

    loss: scalar, summed over labels, averaged over documents. grad_features: [B, D].
    grad_weight: like the weight. grad_bias: [L].
    """

    loss: Tensor
    grad_features: Tensor
    grad_weight: Tensor
    grad_bias: Tensor


def _sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    return tensor.to(device, non_blocking=tensor.is_pinned())
