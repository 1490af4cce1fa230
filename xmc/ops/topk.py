"""Top-k over a stream of label blocks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from xmc.types import TopK


class StreamingTopK:
    """Keeps the k best labels of each document while blocks of logits pass by.

    Blocks come in ascending order of their labels. Equal scores rank by ascending label. A NaN logit counts as -inf,
    so a broken label never displaces a sound one. With fewer than k labels in all, the tail is -inf and -1.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._best: TopK | None = None

    def add(self, logits: Tensor, first_label: int) -> None:
        """Take in logits [B, l] of the labels from `first_label` on."""
        scores, columns = ordered_topk(logits.float(), min(self.k, logits.shape[1]))
        labels = columns + first_label
        if self._best is not None:
            scores = torch.cat([self._best.scores, scores], dim=1)
            labels = torch.cat([self._best.labels, labels], dim=1)
            scores, order = scores.sort(dim=1, descending=True, stable=True)
            labels = labels.gather(1, order)
        self._best = TopK(scores[:, : self.k], labels[:, : self.k])

    def result(self) -> TopK:
        """The ranking so far, [B, k]."""
        if self._best is None:
            raise RuntimeError("no block of logits was added")
        missing = self.k - self._best.labels.shape[1]
        scores = F.pad(self._best.scores, (0, missing), value=-torch.inf)
        labels = F.pad(self._best.labels, (0, missing), value=-1)
        return TopK(scores.contiguous(), labels.contiguous())


def ordered_topk(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest numbers of each row [B, l], and their columns, by descending number, then ascending column, which
    `torch.topk` does not promise. A NaN counts as -inf."""
    logits = logits.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    scores, columns = logits.topk(k, dim=1)
    tied = ((logits >= scores[:, -1:]).sum(1) > k).nonzero().squeeze(1)
    if tied.numel():
        tied_scores, tied_columns = logits[tied].sort(dim=1, descending=True, stable=True)
        scores[tied], columns[tied] = tied_scores[:, :k], tied_columns[:, :k]
    columns, order = columns.sort(dim=1)
    scores, order = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores, columns.gather(1, order)
