"""The loops of `ranking`."""

import numpy as np

from xmc.ops.compiled import kernel

compiled = kernel(__file__)


@compiled
def insert(rows, scores, row, score):  # type: ignore[no-untyped-def]
    """Into a list that is sorted, best first, in the place of its last; equal scores stay in the order they came in."""
    at = len(rows) - 1
    while at > 0 and scores[at - 1] < score:
        rows[at], scores[at] = rows[at - 1], scores[at - 1]
        at -= 1
    rows[at], scores[at] = row, score


@compiled
def rank_children(  # type: ignore[no-untyped-def]
    document_offsets, document_terms, values, beam, beam_scores,
    first, nodes, terms, offsets, rows, weights, scale, bias, found, best, scratch, start, stop,
):  # fmt: skip
    """See `ranking.best_children`; documents `start` to `stop`. scratch: [rows of the largest node]."""
    k = found.shape[1]
    for document in range(start, stop):
        for place in range(beam.shape[1]):
            node, above = beam[document, place], beam_scores[document, place]
            if above <= best[document, k - 1]:  # no child is above its node, and the nodes behind are no better
                break
            size = first[node + 1] - first[node]
            scratch[:size] = 0
            low, high = nodes[node], nodes[node + 1]
            for e in range(document_offsets[document], document_offsets[document + 1]):
                term, end = document_terms[e], high
                while low < end:
                    middle = (low + end) >> 1
                    if terms[middle] < term:
                        low = middle + 1
                    else:
                        end = middle
                if low < high and terms[low] == term:
                    for entry in range(offsets[low], offsets[low + 1]):
                        scratch[rows[entry]] += values[e] * np.float32(weights[entry])
            for child in range(size):
                row = first[node] + child
                short = max(np.float32(0), np.float32(1) - (scratch[child] * scale[row] + bias[row]))
                score = above - short * short * short
                if score > best[document, k - 1]:
                    insert(found[document], best[document], row, score)


@compiled
def rank_rows(  # type: ignore[no-untyped-def]
    document_offsets, document_terms, values, first, nodes, terms, offsets, rows, weights, scale,
    found, best, products, seen, touched, budget, start, stop,
):  # fmt: skip
    """See `ranking.best_rows`; the rows are those of one node. products, seen: 0, bool [rows], left so."""
    k = found.shape[1]
    for document in range(start, stop):
        low, high = document_offsets[document], document_offsets[document + 1]
        places, lengths = np.empty(high - low, np.int64), np.empty(high - low, np.int64)
        at = 0
        for e in range(low, high):
            end = len(terms)
            while at < end:
                middle = (at + end) >> 1
                if terms[middle] < document_terms[e]:
                    at = middle + 1
                else:
                    end = middle
            here = at < len(terms) and terms[at] == document_terms[e]
            places[e - low] = at if here else -1
            lengths[e - low] = offsets[at + 1] - offsets[at] if here else 0
        read = number = 0
        for e in np.argsort(lengths, kind="mergesort"):
            read += lengths[e]
            if places[e] < 0:
                continue
            if read > budget:
                break
            for entry in range(offsets[places[e]], offsets[places[e] + 1]):
                row = rows[entry]
                if not seen[row]:
                    seen[row] = True
                    touched[number] = row
                    number += 1
                products[row] += values[low + e] * np.float32(weights[entry])
        for i in range(number):
            row = touched[i]
            score = products[row] * scale[row]
            if score > best[document, k - 1]:
                insert(found[document], best[document], row, score)
            products[row], seen[row] = 0, False
