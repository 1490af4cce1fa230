"""The loops of `ranking`."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from xmc.ops.compiled import kernel

compiled = kernel(__file__)

_A_BIN = 2  # terms of a node in a bin of its directory, on average, at most
_BYTE, _I32 = ir.IntType(8).as_pointer(), ir.IntType(32)
_READ, _ALL_CACHES, _DATA = _I32(0), _I32(3), _I32(1)


@intrinsic
def prefetch(typing, array, place):  # type: ignore[no-untyped-def]
    """Have array[place], of a contiguous array, brought into the cache while other work goes on. It may lie outside."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        pointer = builder.bitcast(builder.gep(data, [values[1]]), _BYTE)
        signature = ir.FunctionType(ir.VoidType(), [_BYTE, _I32, _I32, _I32])
        hint = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0i8")
        builder.call(hint, [pointer, _READ, _ALL_CACHES, _DATA])
        return context.get_dummy_value()

    return types.void(array, place), emit


@compiled
def fill_directory(nodes, terms, bins, shifts, starts):  # type: ignore[no-untyped-def]
    """The terms of a node in bins of 2^shift numbers: of node p the bins [bins[p], bins[p + 1] - 1), and the terms of
    bin b are those from starts[b] to starts[b + 1], counted from the node's first. Two terms a bin on average, so that
    they are found in a step or two. Returns how many starts there are; with none of them given, counts only."""
    for node in range(len(nodes) - 1):
        low, high = nodes[node], nodes[node + 1]
        last = terms[high - 1] if high > low else -1
        shift = 0
        while (last >> shift) * _A_BIN > high - low:
            shift += 1
        bins[node + 1], shifts[node] = bins[node] + (last >> shift) + 2, shift
        if len(starts):
            at = bins[node]
            for place in range(low, high):
                while at <= bins[node] + (terms[place] >> shift):
                    starts[at] = place - low
                    at += 1
            starts[at : bins[node + 1]] = high - low
    return bins[-1]


@compiled
def look_up(document_terms, low, high, node, nodes, terms, offsets, bins, shifts, starts, entries, places):  # type: ignore[no-untyped-def]
    """Which of a document's entries, from `low` to `high`, have a term of the node, and where; how many these are.

    Most of what is read is in no cache yet. So one pass asks for it, and the next reads it.
    """
    first, shift, bin_of = nodes[node], shifts[node], bins[node]
    last = bins[node + 1] - bin_of - 1  # where no term is
    asked = number = 0
    for e in range(low, high):
        place = document_terms[e] >> shift
        if place >= last:
            break
        places[asked] = first + starts[bin_of + place]
        prefetch(terms, places[asked])
        asked += 1
    for e in range(low, low + asked):
        term = document_terms[e]
        place, length = places[e - low], first + starts[bin_of + (term >> shift) + 1] - places[e - low]
        while length > 1:
            half = length >> 1
            place = place + half if terms[place + half] <= term else place
            length -= half
        if length and terms[place] == term:
            entries[number], places[number] = e, place
            prefetch(offsets, place)
            number += 1
    return number


@compiled
def insert(rows, scores, row, score):  # type: ignore[no-untyped-def]
    """Into a list that is sorted, best first, in the place of its last; equal scores stay in the order they came in."""
    at = len(rows) - 1
    while at > 0 and scores[at - 1] < score:
        rows[at], scores[at] = rows[at - 1], scores[at - 1]
        at -= 1
    rows[at], scores[at] = row, score


@compiled
def _most_terms(document_offsets, start, stop):  # type: ignore[no-untyped-def]
    most = 0
    for document in range(start, stop):
        most = max(most, document_offsets[document + 1] - document_offsets[document])
    return most


@compiled
def rank_children(  # type: ignore[no-untyped-def]
    document_offsets, document_terms, values, beam, beam_scores,
    first, nodes, terms, offsets, rows, weights, scale, bins, shifts, starts, bias, found, best, sums, start, stop,
):  # fmt: skip
    """See `ranking.best_children`; documents `start` to `stop`. sums: [rows of the largest node]."""
    k = found.shape[1]
    most = _most_terms(document_offsets, start, stop)
    entries, places = np.empty(most, np.int64), np.empty(most, np.int64)
    for document in range(start, stop):
        low, high = document_offsets[document], document_offsets[document + 1]
        for place in range(beam.shape[1]):
            node, above = beam[document, place], beam_scores[document, place]
            if above <= best[document, k - 1]:  # no child is above its node, and the nodes behind are no better
                break
            size = first[node + 1] - first[node]
            sums[:size] = 0
            number = look_up(
                document_terms, low, high, node, nodes, terms, offsets, bins, shifts, starts, entries, places
            )
            for i in range(number):
                prefetch(rows, offsets[places[i]])
                prefetch(weights, offsets[places[i]])
            for i in range(number):
                value = values[entries[i]]
                for entry in range(offsets[places[i]], offsets[places[i] + 1]):
                    sums[rows[entry]] += value * np.float32(weights[entry])
            for child in range(size):
                row = first[node] + child
                short = max(np.float32(0), np.float32(1) - (sums[child] * scale[row] + bias[row]))
                score = above - short * short * short
                if score > best[document, k - 1]:
                    insert(found[document], best[document], row, score)


@compiled
def rank_rows(  # type: ignore[no-untyped-def]
    document_offsets, document_terms, values, first, nodes, terms, offsets, rows, weights, scale, bins, shifts, starts,
    found, best, products, seen, touched, budget, start, stop,
):  # fmt: skip
    """See `ranking.best_rows`; the rows are those of one node. products, seen: 0, bool [rows], left so."""
    k = found.shape[1]
    most = _most_terms(document_offsets, start, stop)
    entries, places = np.empty(most, np.int64), np.empty(most, np.int64)
    for document in range(start, stop):
        low, high = document_offsets[document], document_offsets[document + 1]
        number = look_up(document_terms, low, high, 0, nodes, terms, offsets, bins, shifts, starts, entries, places)
        lengths = offsets[places[:number] + 1] - offsets[places[:number]]
        for i in range(number):
            prefetch(rows, offsets[places[i]])
            prefetch(weights, offsets[places[i]])
        read = reached = 0
        for i in np.argsort(lengths, kind="mergesort"):
            read += lengths[i]
            if read > budget:
                break
            value = values[entries[i]]
            for entry in range(offsets[places[i]], offsets[places[i] + 1]):
                row = rows[entry]
                if not seen[row]:
                    seen[row] = True
                    touched[reached] = row
                    reached += 1
                products[row] += value * np.float32(weights[entry])
        for i in range(reached):
            row = touched[i]
            score = products[row] * scale[row]
            if score > best[document, k - 1]:
                insert(found[document], best[document], row, score)
            products[row], seen[row] = 0, False
