"""The CPU: one pass over the documents or bags; a bag's sum stays in the nearest cache until it is used.

Threads take ranges of them. A bag is summed by one thread, in the order of its entries, and squares are added up in a
fixed number of places, so the result depends on no number of threads.
"""

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.ops.bag.api import Bags
from xmc.ops.bag.impl import numba_kernels as kernels
from xmc.ops.compiled import in_parallel, ranges_of

_PLACES = 16


def count_terms(
    ids: Tensor, mask: Tensor, bigrams: Tensor, first_word: int, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `xmc.ops.bag.count_terms`."""
    arrays, ranges = _arrays(ids, mask, bigrams), _ranges(len(ids))
    parts = [np.empty((3, 0), np.int64)] * (len(ranges) + 1)

    def run(i: int, first: int, last: int) -> None:
        entries = np.empty((3, (last - first) * 2 * ids.shape[1]), np.int64)
        parts[i] = entries[:, : kernels.term_range(*arrays, first_word, vocab_size, first, last, entries)]

    in_parallel(kernels.term_range, run, ((i, *bounds) for i, bounds in enumerate(ranges)))
    documents, terms, counts = torch.from_numpy(np.concatenate(parts, axis=1))
    return documents, terms, counts


def tf_idf(documents: Tensor, terms: Tensor, counts: Tensor, idf: Tensor, size: int) -> Tensor:
    """See `xmc.ops.bag.tf_idf`."""
    arrays, weights = _arrays(documents, terms, counts, idf), np.empty(len(terms), np.float32)
    factors = _factors(int(arrays[2].max(initial=1)).bit_length())
    if not kernels.tf_idf(*arrays, factors, weights):
        raise IndexError(f"a term lies beyond the {len(idf)} of idf")
    return torch.from_numpy(weights)


@functools.cache
def _factors(bits: int) -> NDArray[np.float32]:
    """1 + log n for n < 2^bits."""
    factors: NDArray[np.float32] = torch.arange(2**bits, dtype=torch.float32).log_().add_(1.0).numpy()
    return factors


def sums(table: Tensor, bags: Bags) -> Tensor:
    """See `xmc.ops.bag.bag_sums`."""
    out = torch.empty(len(bags), table.shape[1])
    _over_ranges(kernels.sum_range, table, bags, out.numpy())
    return out


def sum_of_squares(table: Tensor, bags: Bags) -> float:
    """Of all numbers in the bags' sums."""
    squares = np.zeros((_PLACES, table.shape[1]), np.float32)
    at_one_place = max(1, -(-len(bags) // _PLACES))
    _over_ranges(kernels.square_range, table, bags, squares, at_one_place, unit=at_one_place)
    return float(squares.sum(dtype=np.float64))


def add_(into: Tensor, rows: Tensor, table: Tensor, bags: Bags, factor: float) -> None:
    """into[rows] += factor * the bags' sums; rows are distinct and lie in the table."""
    _over_ranges(kernels.add_range, table, bags, into.numpy(), rows.numpy(), np.float32(factor))


def _over_ranges(kernel: Any, table: Tensor, bags: Bags, *more: Any, unit: int = 1) -> None:
    """Call the kernel on ranges of bags. more: its last arguments. unit: bags that a range has a multiple of."""
    arrays = _arrays(table, bags.offsets, bags.rows, bags.weights)

    def run(first: int, last: int) -> None:
        if not kernel(*arrays, first, last, *more):
            raise IndexError(f"a bag holds a row that the table of {len(table)} rows does not have")

    in_parallel(kernel, run, _ranges(len(bags), unit))


def _ranges(count: int, unit: int = 1) -> list[tuple[int, int]]:
    """Several for each thread, so that all end together."""
    threads = torch.get_num_threads()
    return ranges_of(count, unit, 4 * threads if threads > 1 else 1)


def _arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)
