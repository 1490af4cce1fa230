"""Stock operators: the reference, and what serves a GPU. Gradients are formed as a whole, [U, D].

Every sum has an order of its own, whatever the device: those of a bag are taken by `embedding_bag` entry by entry.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from xmc.ops.bag.api import Bags


def count_terms(
    ids: Tensor, mask: Tensor, bigrams: Tensor, first_word: int, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `xmc.ops.bag.count_terms`."""
    rows = vocab_size + len(bigrams)
    known = (mask > 0) & (ids >= first_word)
    offset = torch.arange(len(ids), device=ids.device)[:, None] * rows
    found = [(ids + offset)[known]]
    if len(bigrams):
        both = known[:, :-1] & known[:, 1:]
        keys = (ids[:, :-1] * vocab_size + ids[:, 1:])[both]
        slot = torch.searchsorted(bigrams, keys).clamp_(max=len(bigrams) - 1)
        hit = bigrams[slot] == keys
        found.append((slot + vocab_size)[hit] + offset.expand_as(both)[both][hit])
    entries, counts = torch.cat(found).unique(return_counts=True)
    documents = entries.div(rows, rounding_mode="floor")
    return documents, entries - documents * rows, counts


def tf_idf(documents: Tensor, terms: Tensor, counts: Tensor, idf: Tensor, size: int) -> Tensor:
    """See `xmc.ops.bag.tf_idf`."""
    values = counts.to(idf.dtype).log_().add_(1.0) * idf[terms]
    entries = torch.arange(len(values), device=values.device)
    square = sums(values[:, None] ** 2, Bags.of(documents, entries, torch.ones_like(values), size))[:, 0]
    return values * square.clamp_min(1e-12).rsqrt()[documents]


def sums(table: Tensor, bags: Bags) -> Tensor:
    """See `xmc.ops.bag.bag_sums`."""
    return F.embedding_bag(
        bags.rows, table, bags.offsets, mode="sum", per_sample_weights=bags.weights, include_last_offset=True
    )


def sum_of_squares(table: Tensor, bags: Bags) -> float:
    """Of all numbers in the bags' sums."""
    return float(torch.linalg.vector_norm(sums(table, bags))) ** 2


def add_(into: Tensor, rows: Tensor, table: Tensor, bags: Bags, factor: float) -> None:
    """into[rows] += factor * the bags' sums; rows are distinct, so that no two sums meet in an atomic addition."""
    into.index_add_(0, rows, sums(table, bags), alpha=factor)
