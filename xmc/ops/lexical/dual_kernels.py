"""The loops of `dual`. Entries of a document: [offsets[i], offsets[i + 1])."""

import numpy as np

from xmc.ops.compiled import kernel

_SATISFIED = np.float32(0.4)  # beyond its margin by so much, a document with no weight is left alone
_ALL = 3  # passes that begin with all documents, left alone or not
_FEW = 20  # rows: for more, the documents are kept by term too, since a row starts with few terms
_DONE = np.float32(0.1)  # largest violation of a pass after which there is none

compiled = kernel(__file__)


@compiled
def gather(members, offsets, terms, values, place):  # type: ignore[no-untyped-def]
    """The documents `members` in a matrix of their own, over the terms among them; these terms. place: int32 [V] of
    -1, filled with the column of each."""
    entries = 0
    for document in members:
        entries += offsets[document + 1] - offsets[document]
    own_offsets = np.zeros(len(members) + 1, np.int64)
    own_terms, own_values = np.empty(entries, np.int32), np.empty(entries, np.float32)
    found = np.empty(entries, np.int32)
    number = at = 0
    for i in range(len(members)):
        for e in range(offsets[members[i]], offsets[members[i] + 1]):
            term = terms[e]
            if place[term] < 0:
                place[term] = number
                found[number] = term
                number += 1
            own_terms[at], own_values[at] = place[term], values[e]
            at += 1
        own_offsets[i + 1] = at
    return own_offsets, own_terms, own_values, found[:number].copy()


@compiled
def transposed(offsets, terms, values, size):  # type: ignore[no-untyped-def]
    """The documents with each of `size` terms: offsets, documents, values; none of 0 terms."""
    entries = offsets[-1] if size else 0
    counts = np.zeros(size + 1, np.int64)
    for term in terms[:entries]:
        counts[term + 1] += 1
    own_offsets = np.cumsum(counts)
    at, documents, own_values = own_offsets[:-1].copy(), np.empty(entries, np.int32), np.empty(entries, np.float32)
    if not size:
        return own_offsets, documents, own_values
    for i in range(len(offsets) - 1):
        for e in range(offsets[i], offsets[i + 1]):
            term = terms[e]
            documents[at[term]], own_values[at[term]] = i, values[e]
            at[term] += 1
    return own_offsets, documents, own_values


@compiled
def solve_rows(  # type: ignore[no-untyped-def]
    members, offsets, terms, values, names, place, first, last,
    positive_offsets, positives, start_offsets, start_terms, start_values,
    start, bias, cost, threshold, passes, most, seed,
):  # fmt: skip
    """See `dual.solve`; of the rows `first` to `last` of one node, whose documents are `members`, over terms that are
    called `names`."""
    documents, size = len(members), len(names)
    weight, magnitude = np.empty(size, np.float32), np.empty(size, np.float32)
    sign, dual = np.empty(documents, np.float32), np.empty(documents, np.float32)
    square, active = np.empty(documents, np.float32), np.empty(documents, np.int64)
    scores = np.empty(documents, np.float32)
    for i in range(documents):
        total = np.float32(1)  # of the bias
        for e in range(offsets[i], offsets[i + 1]):
            total += values[e] * values[e]
        square[i] = total
    by_term = last - first > _FEW
    having_offsets, having, having_values = transposed(offsets, terms, values, size if by_term else 0)
    most = min(most, size)
    kept_terms, kept_weights = np.empty((last - first) * most, np.int32), np.empty((last - first) * most, np.float32)
    counts, biases = np.zeros(last - first, np.int64), np.empty(last - first, np.float32)
    slack, kept = np.float32(0.5) / cost, 0
    for row in range(first, last):
        weight[:], dual[:], sign[:] = 0, 0, -1
        intercept = bias
        for e in range(start_offsets[row], start_offsets[row + 1]):
            weight[place[start_terms[e]]] = start * start_values[e]
        e = positive_offsets[row]
        for i in range(documents):
            while e < positive_offsets[row + 1] and positives[e] < members[i]:
                e += 1
            if e < positive_offsets[row + 1] and positives[e] == members[i]:
                sign[i] = 1
        left = 0
        state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(row + 1)
        for number in range(passes):
            worst = np.float32(0)
            if number < _ALL:
                scores[:] = intercept
                if by_term:
                    for term in range(size):
                        if weight[term] != 0:
                            for e in range(having_offsets[term], having_offsets[term + 1]):
                                scores[having[e]] += weight[term] * having_values[e]
                else:
                    for i in range(documents):
                        for e in range(offsets[i], offsets[i + 1]):
                            scores[i] += weight[terms[e]] * values[e]
                left = 0
                for i in range(documents):
                    if dual[i] > 0 or sign[i] * scores[i] - np.float32(1) <= _SATISFIED:
                        active[left] = i
                        left += 1
            if number:
                for i in range(left - 1, 0, -1):
                    state ^= state << np.uint64(13)
                    state ^= state >> np.uint64(7)
                    state ^= state << np.uint64(17)
                    j = np.int64(state % np.uint64(i + 1))
                    active[i], active[j] = active[j], active[i]
            at = 0
            while at < left:
                i = active[at]
                score = intercept
                for e in range(offsets[i], offsets[i + 1]):
                    score += weight[terms[e]] * values[e]
                gradient = sign[i] * score - np.float32(1) + slack * dual[i]
                if dual[i] == 0 and gradient > _SATISFIED and number:
                    left -= 1
                    active[at], active[left] = active[left], i
                    continue
                if dual[i] > 0 or gradient < 0:
                    worst = max(worst, abs(gradient))
                    before = dual[i]
                    dual[i] = max(before - gradient / (square[i] + slack), np.float32(0))
                    step = (dual[i] - before) * sign[i]
                    if step != 0:
                        for e in range(offsets[i], offsets[i + 1]):
                            weight[terms[e]] += step * values[e]
                        intercept += step
                at += 1
            if worst < _DONE:
                break
        own = 0
        for term in range(size):
            magnitude[term] = abs(weight[term])
            own += magnitude[term] >= threshold
        least = threshold
        if own > most:
            least = max(least, np.partition(magnitude, size - most)[size - most])
        own = 0
        for term in range(size):
            if magnitude[term] >= least and own < most:
                kept_terms[kept], kept_weights[kept] = names[term], weight[term]
                kept += 1
                own += 1
        counts[row - first], biases[row - first] = own, intercept
    return kept_terms[:kept].copy(), kept_weights[:kept].copy(), counts, biases
