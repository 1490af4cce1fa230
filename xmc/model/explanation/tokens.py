"""A text as the encoder reads it, with the place of every token, and as its reader does, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
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
