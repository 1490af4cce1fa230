"""Several rankings of the same documents made one by adding their scores."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xmc.types import TopK


def blended(lists: Sequence[TopK], k: int) -> TopK:
    """The k labels with the largest sums of scores; what is not in a list has 0 there.

    lists: [B, m] each; a label's scores are from 0 to 1 together. The scores returned are the logits of the sums, so
    that their sigmoid is a probability again; equal ones rank by ascending label.
    """
    top = added(lists, k)
    logits = torch.logit(top.scores.clamp(1e-30, 1 - 1e-7)).float()
    return TopK(logits.masked_fill(top.labels < 0, -torch.inf), top.labels)


def added(lists: Sequence[TopK], k: int) -> TopK:
    """The k labels with the largest sums of scores, float64, over lists [B, m] that may name a label more than once.

    Equal sums rank by ascending label. Where there are fewer labels, the tail is 0 and -1.
    """
    labels = torch.cat([top.labels for top in lists], dim=1)
    scores = torch.cat([top.scores for top in lists], dim=1)
    labels, sums = _summed(labels, scores.double())
    order = sums.argsort(dim=1, descending=True, stable=True)[:, :k]
    labels, sums = labels.gather(1, order), sums.gather(1, order).clamp_min(0)
    missing = (0, k - labels.shape[1])
    return TopK(F.pad(sums, missing), F.pad(labels, missing, value=-1))


def _summed(labels: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Each label of a row once, ascending, with the sum of its scores; the rest, and what is no label, -1 with -1."""
    labels, order = labels.sort(dim=1, stable=True)
    scores = scores.gather(1, order)
    new = torch.ones_like(labels, dtype=torch.bool)
    new[:, 1:] = labels[:, 1:] != labels[:, :-1]
    place = new.cumsum(1) - 1
    sums = torch.zeros_like(scores).scatter_add_(1, place, scores)
    names = torch.full_like(labels, -1).scatter_(1, place, labels)
    return names, sums.masked_fill(names < 0, -1)
