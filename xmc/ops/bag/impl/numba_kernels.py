"""The numba kernels: ranges of documents or bags; see `fused_cpu.py`.

table float32 [R, D]; offsets int64 [B + 1], rows int64 [E] and weights float32 [E] are those of `Bags`. What
reads a table returns False, and ends, where a row lies outside it.
"""

import numpy as np
from numba.extending import register_jitable

from xmc.ops.compiled import kernel

_kernel = kernel(__file__)


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
def tf_idf(documents, terms, counts, idf, factors, weights):
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
