"""Terms of a document, words and bigrams, and the tokens that they stand on."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class Occurrences:
    """terms: int64 [U], ascending. shares: CSR [T, U], what each token has of a term; those of a term add up to 1."""

    terms: NDArray[np.int64]
    shares: csr_matrix

    @classmethod
    def of_tokens(cls, ids: NDArray[np.int64]) -> Self:
        """Where each token [T] is a term by itself."""
        order = np.argsort(ids)
        return cls(ids[order], csr_matrix((np.ones(len(ids)), (order, np.arange(len(ids)))), (len(ids), len(ids))))

    @classmethod
    def of_words(
        cls, ids: NDArray[np.int64], idf: NDArray[np.float32], bigrams: NDArray[np.int64], first_word: int
    ) -> Self:
        """As `count_terms` finds them in the ids [T] of one document. idf: [V + S], of V words and S bigrams.

        A term's weight is shared evenly among its occurrences, and a bigram's between its two words as the information
        of each: `mergers and` is more of the one than of the other.
        """
        known, vocab_size = ids >= first_word, len(idf) - len(bigrams)
        places = np.flatnonzero(known)
        left = np.flatnonzero(known[:-1] & known[1:])
        slot, hit = _looked_up(ids[left] * vocab_size + ids[left + 1], bigrams)
        left, slot = left[hit], slot[hit]
        information = np.maximum(idf[ids] - 1, 1e-6)  # of document_idf: -log of the share of documents with the word
        of_left = information[left] / (information[left] + information[left + 1])
        terms = np.concatenate([ids[places], vocab_size + slot, vocab_size + slot])
        tokens = np.concatenate([places, left, left + 1])
        shares = np.concatenate([np.ones(len(places)), of_left, 1 - of_left])
        found, column = np.unique(terms, return_inverse=True)
        shares = shares / np.bincount(column, shares)[column]
        return cls(found, csr_matrix((shares, (tokens, column)), (len(ids), len(found))))

    def by_token(self, terms: NDArray[np.integer], weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Weights [n, U'] of some of the terms [U'], handed to the tokens: [T, n]."""
        of_term = np.zeros((len(self.terms), len(weights)))
        of_term[np.searchsorted(self.terms, terms)] = weights.T
        by_token: NDArray[np.float64] = self.shares @ of_term
        return by_token


def _looked_up(keys: NDArray[np.int64], ascending: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The place of each key, and whether it is there."""
    place = np.searchsorted(ascending, keys)
    found = np.zeros(len(keys), np.bool_)
    inside = place < len(ascending)
    found[inside] = ascending[place[inside]] == keys[inside]
    return place, found
