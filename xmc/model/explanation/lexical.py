"""What the two rankings of a lexical half say of single labels, token by token.

Both are linear in the document's TF-IDF, whose length is taken as it is. A node of the tree has the log-probability
-max(0, 1 - s)^3, flat where it is certain; so a term has its share of s times the slope from the empty document to this
one, and not the slope here, which may be 0 (the rescale rule of DeepLIFT: Shrikumar et al., ICML 2017).
"""

import numpy as np
from numpy.typing import NDArray

from xmc.model.explanation.shares import Floats, Said
from xmc.model.explanation.tokens import Occurrences, Tokens
from xmc.model.lexical import BUDGET, FIRST_WORD, LexicalHalf


def said_by_half(half: LexicalHalf, tokens: Tokens, labels: NDArray[np.int64]) -> list[Said]:
    """By the tree, in probabilities, and by the centroids, in cosines; of labels that the half lacks, nothing."""
    document = half.terms.matrix(*tokens.batch())
    terms, values = document.indices, document.data.astype(np.float64)
    ids = tokens.ids.numpy()
    if tokens.values is None:
        occurrences = Occurrences.of_words(ids, half.terms.idf.numpy(), half.terms.bigrams.numpy(), FIRST_WORD)
    else:
        occurrences = Occurrences.of_tokens(ids)
    found = [np.flatnonzero(half.labels.numpy() == label) for label in labels]
    known = np.array([len(rows) > 0 for rows in found])
    rows = np.array([rows[0] if len(rows) else 0 for rows in found])
    return [
        Said(scores * known, empty * known, occurrences.by_token(terms, weights) * known)
        for scores, empty, weights in (_by_tree(half, rows, terms, values), _by_centroids(half, rows, terms, values))
    ]


def _by_tree(
    half: LexicalHalf, rows: NDArray[np.int64], terms: NDArray[np.integer], values: Floats
) -> tuple[Floats, Floats, Floats]:
    """Probabilities here and of an empty document, [n], and what each term adds to the logs of these, [n, U]."""
    here, empty, weights = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros((len(rows), len(terms)))
    for level in reversed(half.levels):
        parts = level.postings.at(rows, terms) * values
        bias = level.bias.numpy()[rows].astype(np.float64)
        rise = parts.sum(axis=1)
        of_document, of_none = _log_probability(bias + rise), _log_probability(bias)
        slope = np.divide(of_document - of_none, rise, out=np.zeros_like(rise), where=np.abs(rise) > 1e-9)
        here, empty, weights = here + of_document, empty + of_none, weights + slope[:, None] * parts
        rows = level.postings.node_of(rows)
    return np.exp(here), np.exp(empty), weights


def _log_probability(margins: Floats) -> Floats:
    short: Floats = np.maximum(0, 1 - margins)
    return -(short**3)


def _by_centroids(
    half: LexicalHalf, rows: NDArray[np.int64], terms: NDArray[np.integer], values: Floats
) -> tuple[Floats, Floats, Floats]:
    """Likewise in cosines. Terms that the ranking passes over (see `best_rows`) add nothing."""
    start, stop = half.centroids.entries(np.zeros(1, np.int64), terms)
    order = np.argsort(lengths := (stop - start)[0], kind="stable")
    read = np.zeros(len(terms))
    read[order] = lengths[order].cumsum() <= BUDGET
    weights = half.centroids.at(rows, terms) * values * read
    return weights.sum(axis=1).clip(0, 1), np.zeros(len(rows)), weights
