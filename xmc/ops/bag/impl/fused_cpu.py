"""The CPU: one pass over the documents or bags; a bag's sum stays in the nearest cache until it is used.

Threads take ranges of them. A bag is summed by one thread, in the order of its entries, and squares are added up in a
fixed number of places, so the result depends on no number of threads.

To the kernels a table is float32 [R, D]; offsets int64 [B + 1], rows int64 [E] and weights float32 [E] are those of
`Bags`. What reads a table returns False, and ends, where a row lies outside it.
"""

import functools
from typing import Any

import numpy as np
import torch
from numba.extending import register_jitable
from numpy.typing import NDArray
from torch import Tensor

from xmc.ops.bag.api import Bags
from xmc.ops.compiled import in_parallel, kernel, ranges_of

_PLACES = 16
_kernel = kernel(__file__)


def count_terms(
    ids: Tensor, mask: Tensor, bigrams: Tensor, first_word: int, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `xmc.ops.bag.count_terms`."""
    arrays, ranges = _arrays(ids, mask, bigrams), _ranges(len(ids))
    parts = [np.empty((3, 0), np.int64)] * (len(ranges) + 1)

    def run(i: int, first: int, last: int) -> None:
        entries = np.empty((3, (last - first) * 2 * ids.shape[1]), np.int64)
        parts[i] = entries[:, : term_range(*arrays, first_word, vocab_size, first, last, entries)]

    in_parallel(term_range, run, ((i, *bounds) for i, bounds in enumerate(ranges)))
    documents, terms, counts = torch.from_numpy(np.concatenate(parts, axis=1))
    return documents, terms, counts


def tf_idf(documents: Tensor, terms: Tensor, counts: Tensor, idf: Tensor, size: int) -> Tensor:
    """See `xmc.ops.bag.tf_idf`."""
    arrays, weights = _arrays(documents, terms, counts, idf), np.empty(len(terms), np.float32)
    factors = _factors(int(arrays[2].max(initial=1)).bit_length())
    if not tf_idf_weights(*arrays, factors, weights):
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
    _over_ranges(sum_range, table, bags, out.numpy())
    return out


def sum_of_squares(table: Tensor, bags: Bags) -> float:
    """Of all numbers in the bags' sums."""
    squares = np.zeros((_PLACES, table.shape[1]), np.float32)
    at_one_place = max(1, -(-len(bags) // _PLACES))
    _over_ranges(square_range, table, bags, squares, at_one_place, unit=at_one_place)
    return float(squares.sum(dtype=np.float64))


def add_(into: Tensor, rows: Tensor, table: Tensor, bags: Bags, factor: float) -> None:
    """into[rows] += factor * the bags' sums; rows are distinct and lie in the table."""
    _over_ranges(add_range, table, bags, into.numpy(), rows.numpy(), np.float32(factor))


def _over_ranges(on_range: Any, table: Tensor, bags: Bags, *more: Any, unit: int = 1) -> None:
    """Call a kernel on ranges of bags. more: its last arguments. unit: bags that a range has a multiple of."""
    arrays = _arrays(table, bags.offsets, bags.rows, bags.weights)

    def run(first: int, last: int) -> None:
        if not on_range(*arrays, first, last, *more):
            raise IndexError(f"a bag holds a row that the table of {len(table)} rows does not have")

    in_parallel(on_range, run, _ranges(len(bags), unit))


def _ranges(count: int, unit: int = 1) -> list[tuple[int, int]]:
    """Several for each thread, so that all end together."""
    threads = torch.get_num_threads()
    return ranges_of(count, unit, 4 * threads if threads > 1 else 1)


def _arrays(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)


@_kernel
def term_range(ids, mask, bigrams, first_word, vocab_size, first, last, entries):
    """Documents, distinct terms and counts of the documents [first, last), to `entries` [3, n]. Returns how many."""
    documents, terms, counts = entries
    found = np.empty(2 * ids.shape[1], np.int64)
    end = 0
    for document in range(first, last):
        n, before = 0, -1
        for place in range(ids.shape[1]):
            word = ids[document, place]
            if mask[document, place] <= 0 or word < first_word:
                before = -1
                continue
            found[n] = word
            n += 1
            if before >= 0:
                key = before * vocab_size + word
                slot = np.searchsorted(bigrams, key)
                if slot < len(bigrams) and bigrams[slot] == key:
                    found[n] = vocab_size + slot
                    n += 1
            before = word
        found[:n].sort()
        for i in range(n):
            if i and found[i] == found[i - 1]:
                counts[end - 1] += 1
            else:
                documents[end], terms[end], counts[end] = document, found[i], 1
                end += 1
    return end


@_kernel
def tf_idf_weights(documents, terms, counts, idf, factors, weights):
    """factors: by count. Returns False, and ends, where a term lies beyond idf."""
    first = 0
    while first < len(terms):
        last, square = first, np.float32(0)
        while last < len(terms) and documents[last] == documents[first]:
            if not 0 <= terms[last] < len(idf):
                return False
            weights[last] = factors[counts[last]] * idf[terms[last]]
            square += weights[last] * weights[last]
            last += 1
        scale = np.float32(1) / np.sqrt(max(square, np.float32(1e-12)))
        for entry in range(first, last):
            weights[entry] *= scale
        first = last
    return True


@register_jitable
def _sum(table, rows, weights, first, last, total):
    """The weighted sum of the entries [first, last), to `total` [D]. False where a row lies outside the table."""
    for entry in range(first, last):
        if not 0 <= rows[entry] < len(table):
            return False
    total[:] = 0
    fours = last - (last - first) % 4
    for entry in range(first, fours, 4):  # four rows at a time: the sums go to memory and back a fourth as often
        w0, w1, w2, w3 = weights[entry], weights[entry + 1], weights[entry + 2], weights[entry + 3]
        r0, r1, r2, r3 = table[rows[entry]], table[rows[entry + 1]], table[rows[entry + 2]], table[rows[entry + 3]]
        for d in range(len(total)):
            total[d] += (w0 * r0[d] + w1 * r1[d]) + (w2 * r2[d] + w3 * r3[d])
    for entry in range(fours, last):
        weight, row = weights[entry], table[rows[entry]]
        for d in range(len(total)):
            total[d] += weight * row[d]
    return True


@_kernel
def sum_range(table, offsets, rows, weights, first, last, sums):
    """Sums of the bags [first, last), [B, D]."""
    for bag in range(first, last):  # noqa: SIM110  numba compiles no generators
        if not _sum(table, rows, weights, offsets[bag], offsets[bag + 1], sums[bag]):
            return False
    return True


@_kernel
def square_range(table, offsets, rows, weights, first, last, squares, at_one_place):
    """Adds the squares of the sums of the bags [first, last) to `squares` [n, D], so many bags to a row."""
    total = np.empty(table.shape[1], np.float32)
    for bag in range(first, last):
        if not _sum(table, rows, weights, offsets[bag], offsets[bag + 1], total):
            return False
        place = squares[bag // at_one_place]
        for d in range(len(total)):
            place[d] += total[d] * total[d]
    return True


@_kernel
def add_range(table, offsets, rows, weights, first, last, into, targets, factor):
    """Adds `factor` times the sums of the bags [first, last) to the rows `targets` [B] of `into`."""
    total = np.empty(table.shape[1], np.float32)
    for bag in range(first, last):
        if not _sum(table, rows, weights, offsets[bag], offsets[bag + 1], total):
            return False
        row = into[targets[bag]]
        for d in range(len(total)):
            row[d] += factor * total[d]
    return True
