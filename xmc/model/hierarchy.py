"""Labels that imply others in a ranking: those above a label are at least as probable as it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.errors import XMCError
from xmc.model.tensor_file import ANEW
from xmc.types import TopK


def implied(top: TopK, above_P2: Tensor, k: int) -> TopK:
    """The k best labels once each has the best score of itself and of all below it; equal scores by ascending label.

    above_P2: all pairs of a label and one above it, sorted. No label that is not in a list of k, nor above one that
    is, can be among the k best then.
    """
    labels, scores = top.labels.cpu().numpy(), top.scores.float().cpu().numpy()
    below, over = above_P2.cpu().numpy().T
    starts, ends = np.searchsorted(below, labels, "left"), np.searchsorted(below, labels, "right")
    counts = np.where(labels < 0, 0, ends - starts).ravel()
    first = np.repeat(starts.ravel() - np.concatenate([[0], counts.cumsum()[:-1]]), counts)
    rows = np.repeat(np.arange(len(labels)), labels.shape[1])
    documents = np.concatenate([rows, np.repeat(rows, counts)])
    named = np.concatenate([labels.ravel(), over[first + np.arange(counts.sum())]])
    scored = np.concatenate([scores.ravel(), np.repeat(scores.ravel(), counts)])
    kept = named >= 0
    documents, named, scored = documents[kept], named[kept], scored[kept]
    best = np.lexsort((-scored, named, documents))  # of each label of a document its best score first
    documents, named, scored = documents[best], named[best], scored[best]
    new = np.ones(len(named), bool)
    new[1:] = (documents[1:] != documents[:-1]) | (named[1:] != named[:-1])
    documents, named, scored = documents[new], named[new], scored[new]
    order = np.lexsort((named, -scored, documents))
    documents, named, scored = documents[order], named[order], scored[order]
    rank = np.arange(len(named)) - np.searchsorted(documents, documents)
    listed = rank < k
    width = min(k, max(labels.shape[1], int(rank.max(initial=-1)) + 1))
    out = TopK(torch.full((len(labels), width), -torch.inf), torch.full((len(labels), width), -1))
    at = torch.from_numpy(documents[listed]), torch.from_numpy(rank[listed])
    out.scores[at], out.labels[at] = torch.from_numpy(scored[listed]), torch.from_numpy(named[listed])
    return TopK(out.scores.to(top.scores), out.labels.to(top.labels.device))


def path_above(label: int, above_P2: Tensor) -> list[int]:
    """The labels above one, the topmost first."""
    below, over = above_P2.cpu().numpy().T
    return sorted(_above(below, over, label), key=lambda one: (len(_above(below, over, one)), one))


def check_above(above_P2: Tensor, num_labels: int) -> None:
    """Raise XMCError for pairs of a saved model that are none of its labels, or not in order."""
    pairs = above_P2.cpu().numpy()
    if pairs.size and (pairs.min() < 0 or pairs.max() >= num_labels or (np.diff(pairs[:, 0]) < 0).any()):
        raise XMCError(f"the labels above others are none of the model's {num_labels}; {ANEW}")


def _above(below: NDArray[np.int64], over: NDArray[np.int64], label: int) -> list[int]:
    found: list[int] = over[np.searchsorted(below, label, "left") : np.searchsorted(below, label, "right")].tolist()
    return found
