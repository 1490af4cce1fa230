"""The training documents most like a document, and the labels that they carry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from xmc.errors import XMCError
from xmc.model.rankings import added
from xmc.model.tensor_file import ANEW, TensorFile, check_finite, form
from xmc.ops.topk import StreamingTopK
from xmc.types import TopK

_BLOCK = 1 << 14  # training documents that are looked at together


@dataclass(frozen=True, slots=True)
class Neighbours:
    """N training documents, of which the nearest by cosine vote for their labels.

    features: float16 [N, D], rows of length 1. offsets, labels: int64 [N + 1] and int32 [P], those of document i being
    `labels[offsets[i]:offsets[i + 1]]`. nearest: how many vote.
    """

    features: Tensor
    offsets: Tensor
    labels: Tensor
    nearest: int

    @classmethod
    def empty(cls, num_documents: int, width: int, offsets: Tensor, labels: Tensor, nearest: int) -> Self:
        """Without the features, which `put_` brings."""
        return cls(torch.zeros(num_documents, width, dtype=torch.float16), offsets, labels.int(), nearest)

    def put_(self, rows: Tensor, features_BD: Tensor) -> None:
        """The features of these documents."""
        self.features[rows] = F.normalize(features_BD.float()).half().cpu()

    def rank(self, features_BD: Tensor, k: int) -> TopK:
        """The k labels with the largest share of the nearest documents, each of which counts as its similarity.

        The search is exact, and takes memory for a block of documents at a time. Of equally near ones the first are
        taken. Shares are float64; where there are fewer labels, the tail is 0 and -1.
        """
        search = StreamingTopK(self.nearest)
        queries = F.normalize(features_BD.float()).cpu()
        for start in range(0, len(self.features), _BLOCK):
            search.add(queries @ self.features[start : start + _BLOCK].float().T, start)
        found = search.result()
        weights, rows = found.scores.clamp_min(0).double(), found.labels.clamp_min(0)
        shares = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)
        return added([self._carried(rows, torch.where(weights > 0, shares, 0))], k)

    def _carried(self, rows: Tensor, shares: Tensor) -> TopK:
        """All labels that the documents of each row carry, with these documents' shares: [B, most of a row]."""
        starts = self.offsets[rows]
        counts = torch.where(shares > 0, self.offsets[rows + 1] - starts, 0)
        ends = counts.cumsum(dim=1)
        places = torch.arange(int(ends[:, -1].max())).expand(len(rows), -1).contiguous()
        voter = torch.searchsorted(ends, places, right=True)
        there = voter < counts.shape[1]
        voter = voter.clamp_max(counts.shape[1] - 1)
        entries = starts.gather(1, voter) + places - (ends - counts).gather(1, voter)
        labels = torch.where(there, self.labels[entries.clamp_max(len(self.labels) - 1)].long(), -1)
        return TopK(torch.where(there, shares.gather(1, voter), 0), labels)

    def save(self, path: Path) -> None:
        save_file({"features": self.features, "offsets": self.offsets, "labels": self.labels}, path)

    @classmethod
    def load(cls, path: Path, nearest: int, width: int, num_labels: int) -> Self:
        """What `save` wrote.

        Raises:
            XMCError: the tensors do not belong together, or to a model of that width and so many labels.
        """
        file = TensorFile(path)
        features, offsets, labels = (file.required(name) for name in ("features", "offsets", "labels"))
        expected = {"features": (torch.float16, 2), "offsets": (torch.int64, 1), "labels": (torch.int32, 1)}
        for (name, (dtype, dim)), tensor in zip(expected.items(), (features, offsets, labels), strict=True):
            if tensor.dtype != dtype or tensor.dim() != dim or not tensor.numel():
                raise XMCError(f"{path}: {name} is {form(tensor)}, expected {dtype} of {dim} dimensions; {ANEW}")
        if features.shape[1] != width or len(offsets) != len(features) + 1:
            raise XMCError(f"{path}: features are {form(features)}, offsets {form(offsets)}, of width {width}; {ANEW}")
        if offsets[0] != 0 or offsets[-1] != len(labels) or bool((offsets.diff() < 0).any()):
            raise XMCError(f"{path}: offsets do not ascend from 0 to {len(labels)}; {ANEW}")
        if not bool(((labels >= 0) & (labels < num_labels)).all()):
            raise XMCError(f"{path}: a label is out of range, there are {num_labels}; {ANEW}")
        check_finite({"features": features}, path)
        return cls(features, offsets, labels, nearest)
