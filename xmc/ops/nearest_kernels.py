"""The loops of `nearest`."""

import numpy as np

from xmc.ops.compiled import kernel
from xmc.ops.lexical import ranking_kernels
from xmc.ops.lexical.ranking_kernels import insert

compiled = kernel(__file__, ranking_kernels.__file__)


@compiled
def keep_best(products, first, found, best, start, stop):  # type: ignore[no-untyped-def]
    """Take in products [B, n] of the columns from `first` on."""
    k = found.shape[1]
    for row in range(start, stop):
        for column in range(products.shape[1]):
            if products[row, column] > best[row, k - 1]:
                insert(found[row], best[row], first + column, products[row, column])


@compiled
def count_votes(voters, weights, offsets, labels, found, best, start, stop):  # type: ignore[no-untyped-def]
    """See `nearest.votes`."""
    k = found.shape[1]
    for row in range(start, stop):
        total, number = np.float32(0), 0
        for i in range(voters.shape[1]):
            if voters[row, i] >= 0 and weights[row, i] > 0:
                total += weights[row, i]
                number += offsets[voters[row, i] + 1] - offsets[voters[row, i]]
        named, shares, at = np.empty(number, np.int32), np.empty(number, np.float32), 0
        for i in range(voters.shape[1]):
            if voters[row, i] >= 0 and weights[row, i] > 0:
                for entry in range(offsets[voters[row, i]], offsets[voters[row, i] + 1]):
                    named[at], shares[at] = labels[entry], weights[row, i] / total
                    at += 1
        order, at = np.argsort(named, kind="mergesort"), 0
        while at < number:
            label, share = named[order[at]], np.float32(0)
            while at < number and named[order[at]] == label:
                share += shares[order[at]]
                at += 1
            if share > best[row, k - 1]:
                insert(found[row], best[row], label, share)
