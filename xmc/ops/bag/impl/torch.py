"""Stock operators: the reference, and what serves a GPU. Gradients are formed as a whole, [U, D]."""

import torch
from torch import Tensor
from torch.nn import functional as F

from xmc.ops.bag.api import Bags


def sums(table: Tensor, bags: Bags) -> Tensor:
    """See `xmc.ops.bag.bag_sums`."""
    return F.embedding_bag(
        bags.rows, table, bags.offsets, mode="sum", per_sample_weights=bags.weights, include_last_offset=True
    )


def sum_of_squares(table: Tensor, bags: Bags) -> float:
    """Of all numbers in the bags' sums."""
    return float(torch.linalg.vector_norm(sums(table, bags))) ** 2


def add_(into: Tensor, rows: Tensor, table: Tensor, bags: Bags, factor: float) -> None:
    """into[rows] += factor * the bags' sums; rows are distinct."""
    into.index_add_(0, rows, sums(table, bags), alpha=factor)
