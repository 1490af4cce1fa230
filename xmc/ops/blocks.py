"""Cutting the labels into blocks, each with its share of the positives."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from xmc.types import Positives


class LabelBlock(NamedTuple):
    """A contiguous run of labels and the positives that fall into it.

    labels: local label rows. document, label: int64 [p], for each positive its document and its label counted from the
    start of the block.
    """

    labels: slice
    document: Tensor
    label: Tensor

    def __len__(self) -> int:
        return self.labels.stop - self.labels.start


def label_slices(n_labels: int, size: int) -> list[slice]:
    """Slices of at most `size` labels that cover `n_labels`."""
    return [slice(start, min(start + size, n_labels)) for start in range(0, n_labels, size)]


def label_blocks(positives: Positives, label_offset: int, n_labels: int, size: int) -> Iterator[LabelBlock]:
    """The labels [label_offset, label_offset + n_labels) in blocks of `size`; positives outside are left out."""
    local = positives.labels - label_offset
    local, order = torch.where((local >= 0) & (local < n_labels), local, n_labels).sort(stable=True)
    document = positives.documents()[order]
    slices = label_slices(n_labels, size)
    starts = torch.arange(0, n_labels + size, size, device=local.device).clamp_(max=n_labels)
    bounds: list[int] = torch.searchsorted(local, starts).tolist()
    for labels, first, last in zip(slices, bounds, bounds[1:], strict=False):
        yield LabelBlock(labels, document[first:last], local[first:last] - labels.start)
