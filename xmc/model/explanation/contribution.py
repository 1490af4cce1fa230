"""What an explanation says: which words of a text speak for a label, and which against it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmc.model.explanation.shares import Floats


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one word adds to a label's score. start, end: characters of the text. weight: below 0 against the label."""

    start: int
    end: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a text has a label, or has not: score = base + the sum of the terms' weights.

    score: the label's log-odds, as `Prediction.logit`. terms: each word that has a part in it, as often as it occurs,
    in the order of the text. base: what the score would be of a text of which no word is known.
    """

    label: str
    score: float
    terms: list[Contribution]
    base: float

    def words(self, k: int) -> list[tuple[str, float]]:
        """The k words of the largest weight, whatever its sign, all occurrences together, whatever their case."""
        sums: dict[str, float] = {}
        for term in self.terms:
            word = term.text.casefold()
            sums[word] = sums.get(word, 0.0) + term.weight
        return sorted(sums.items(), key=lambda item: -abs(item[1]))[:k]


def explanations(
    labels: Sequence[str], text: str, words: NDArray[np.int64], scores: Floats, weights: Floats
) -> list[Explanation]:
    """Of n labels. words: [W, 2], where each begins and ends. scores: [n]. weights: [W, n]; those of 0 are left out."""
    spans = [(start, end, text[start:end]) for start, end in words.tolist()]
    return [
        Explanation(label, score, [Contribution(*span, w) for span, w in zip(spans, of_words, strict=True) if w], base)
        for label, score, of_words, base in zip(
            labels, scores.tolist(), weights.T.tolist(), (scores - weights.sum(axis=0)).tolist(), strict=True
        )
    ]
