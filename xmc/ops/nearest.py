"""The columns most like a row, and what they vote for."""

import numpy as np
from numpy.typing import NDArray

from xmc.ops import nearest_kernels as kernels
from xmc.ops.compiled import in_parallel, ranges_of

_BLOCK = 1 << 14  # columns whose products are there together
Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]


def nearest(queries: NDArray[np.float32], columns: NDArray[np.float32], k: int) -> Ranked:
    """The k columns of the largest product with each query, best first, int64 [B, k], and the products.

    queries: [B, d]. columns: [d, N]. Of equal products the first columns are taken. -1 and -inf where there are fewer.
    """
    size = len(queries)
    found, best = np.full((size, k), -1, np.int64), np.full((size, k), -np.inf, np.float32)
    for first in range(0, columns.shape[1], _BLOCK):
        products = queries @ columns[:, first : first + _BLOCK]

        def run(start: int, stop: int, first: int = first, products: NDArray[np.float32] = products) -> None:
            kernels.keep_best(products, first, found, best, start, stop)

        in_parallel(kernels.keep_best, run, ranges_of(size, 8, 16))
    return found, best


def votes(
    voters: NDArray[np.int64],
    weights: NDArray[np.float32],
    offsets: NDArray[np.int64],
    labels: NDArray[np.int32],
    k: int,
) -> Ranked:
    """The k labels with the largest share of their voters' weight, best first, int64 [B, k], and the shares.

    voters: int64 [B, n], -1 for none. weights: [B, n], of which those above 0 count. A voter v is for each of
    `labels[offsets[v]:offsets[v + 1]]`, which are different. Equal shares rank by ascending label; the tail is -1
    and 0.
    """
    size = len(voters)
    found, best = np.full((size, k), -1, np.int64), np.zeros((size, k), np.float32)

    def run(start: int, stop: int) -> None:
        kernels.count_votes(voters, weights, offsets, labels, found, best, start, stop)

    in_parallel(kernels.count_votes, run, ranges_of(size, 8, 16))
    return found, best
