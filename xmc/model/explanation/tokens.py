"""A text as the encoder reads it, in tokens and the terms that stand on them, and as its reader does, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from xmc.model.encoder import Encoder
from xmc.model.word_tokenizer import splitter


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text. ids: int64 [T]. values: float32 [T] of sparse features. spans: int64 [T, 2], where tokens begin and end
    in the text, which is the same of special ones. words: int64 [W, 2], likewise."""

    text: str
    ids: Tensor
    values: Tensor | None
    spans: NDArray[np.int64]
    words: NDArray[np.int64]

    def batch(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor | None]:
        """Ids, attention mask and values, [1, T], as the encoder takes them."""
        ids_1T = self.ids[None].to(device)
        return ids_1T, torch.ones_like(ids_1T), None if self.values is None else self.values[None].to(device)


def tokens_of(text: str, encoder: Encoder) -> Tokens:
    """The tokens that the encoder reads of a text, and its words.

    Words are those of a bag, whatever the encoder is, so that what several models say of a text can be added; of sparse
    features each entry is one.

    Raises:
        XMCError: the tokenizer does not tell where its tokens stand.
    """
    read, places = encoder.tokenizer.located(text, encoder.max_length)
    ids, spans = torch.tensor(read.ids[0], dtype=torch.int64), _spans(places)
    if read.values is None:
        return Tokens(text, ids, None, spans, _spans([span for _, span in splitter().pre_tokenize_str(text)]))
    values = torch.tensor(read.values[0], dtype=torch.float32)
    return Tokens(text, ids, values, spans, spans[np.argsort(spans[:, 0])])


def _spans(pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array(pairs, np.int64).reshape(-1, 2)


def by_word(tokens: Tokens, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights [T, n] of the tokens, added up by word, [W, n].

    A token that covers several words is shared evenly among them; one that covers none, such as a special one or
    punctuation, is left out.
    """
    starts, ends = tokens.spans.T
    first = np.searchsorted(tokens.words[:, 1], starts, "right")
    last = np.searchsorted(tokens.words[:, 0], ends, "left")
    counts = np.where(ends > starts, np.maximum(last - first, 0), 0)
    token = np.repeat(np.arange(len(counts)), counts)
    word = first[token] + np.arange(len(token)) - (counts.cumsum() - counts)[token]
    sums = np.zeros((len(tokens.words), weights.shape[1]))
    np.add.at(sums, word, weights[token] / counts[token, None])
    return sums


@dataclass(frozen=True, slots=True)
class Occurrences:
    """Terms of a document, words and bigrams, and the tokens that they stand on.

    terms: int64 [U], ascending. shares: CSR [T, U], what each token has of a term; those of a term add up to 1."""

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
