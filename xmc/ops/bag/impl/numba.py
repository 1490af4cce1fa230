"""The CPU: one pass over the bags, whose sums stay in the nearest cache until they are used.

Threads take ranges of bags. A bag is summed by one thread, in the order of its entries, and the ranges are the same
whatever the number of threads; so are the bits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.ops.bag.api import Bags
from xmc.ops.bag.impl import numba_kernels as kernels
from xmc.ops.compiled import in_parallel, ranges_of

_RANGES = 16


def sums(table: Tensor, bags: Bags) -> Tensor:
    """See `xmc.ops.bag.bag_sums`."""
    out = torch.empty(len(bags), table.shape[1])
    _over_ranges(kernels.sum_range, table, bags, lambda _: (out.numpy(),))
    return out


def sum_of_squares(table: Tensor, bags: Bags) -> float:
    """Of all numbers in the bags' sums."""
    squares = np.zeros((_RANGES, table.shape[1]), np.float32)
    _over_ranges(kernels.square_range, table, bags, lambda i: (squares[i],))
    return float(squares.sum(dtype=np.float64))


def add_(into: Tensor, rows: Tensor, table: Tensor, bags: Bags, factor: float) -> None:
    """into[rows] += factor * the bags' sums; rows are distinct and lie in the table."""
    target = (into.numpy(), rows.numpy(), np.float32(factor))
    _over_ranges(kernels.add_range, table, bags, lambda _: target)


def _over_ranges(kernel: Any, table: Tensor, bags: Bags, use: Callable[[int], tuple[Any, ...]]) -> None:
    """Call the kernel on every range of bags. use: its last arguments, by the number of the range."""
    arrays = _arrays(table, bags.offsets, bags.rows, bags.weights)

    def run(i: int, first: int, last: int) -> None:
        if not kernel(*arrays, first, last, *use(i)):
            raise IndexError(f"a bag holds a row that the table of {len(table)} rows does not have")

    in_parallel(kernel, run, ((i, *bounds) for i, bounds in enumerate(ranges_of(len(bags), 1, _RANGES))))


def _arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)
