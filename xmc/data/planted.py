"""Texts with planted structure: labels own words, and documents have the words of their labels among others."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

_STREAMS = ("labels", "train", "test")  # of random numbers
_BLOCK = 1000  # documents drawn together
_HEAD = 10  # q in the label frequencies, 1 / (rank + q)
_SYLLABLES = ["".join(pair) for pair in product("bdfgklmnprstvz", "aeiou")]


def label_words(num_labels: int, words_per_label: int, num_words: int, seed: int) -> NDArray[np.int32]:
    """The words of each label by number, int32 [L, words_per_label]; rarely one of them twice."""
    return _generator(seed, "labels").integers(num_words, size=(num_labels, words_per_label), dtype=np.int32)


def spelling(number: int, num_words: int) -> str:
    """How word `number` of `num_words` is written: three syllables, or more where there are very many words."""
    syllables: list[str] = []
    while num_words > 1 or len(syllables) < 3:
        number, syllable = divmod(number, len(_SYLLABLES))
        num_words = -(-num_words // len(_SYLLABLES))
        syllables.append(_SYLLABLES[syllable])
    return "".join(syllables)


class LabelNames(Mapping[str, str]):
    """Names by label id, spelt when asked for."""

    def __init__(self, words_of: NDArray[np.int32], num_words: int) -> None:
        self._words_of = words_of
        self._spelt = [spelling(word, num_words) for word in range(num_words)]

    def __len__(self) -> int:
        return len(self._words_of)

    def __iter__(self) -> Iterator[str]:
        return (f"label-{label}" for label in range(len(self)))

    def __getitem__(self, id_: str) -> str:
        return " ".join(self._spelt[word] for word in self._words_of[int(id_.removeprefix("label-"))])


def draw_documents(
    split: str,
    count: int,
    *,
    num_labels: int,
    num_words: int,
    labels_per_document: int,
    words_per_label: int,
    noise_words: int,
    seed: int,
) -> Iterator[tuple[str, list[int]]]:
    """Text and labels, ascending, of each document of a split, drawn a block at a time."""
    words_of = label_words(num_labels, words_per_label, num_words, seed)
    spelt = [spelling(word, num_words) for word in range(num_words)]
    for start in range(0, count, _BLOCK):
        rng = _generator(seed, split, start)
        labels = _draw_labels(rng, num_labels, (_BLOCK, labels_per_document))
        noise = rng.integers(num_words, size=(_BLOCK, noise_words))
        words = rng.permuted(np.concatenate([words_of[labels].reshape(_BLOCK, -1), noise], axis=1), axis=1)
        for row in range(min(_BLOCK, count - start)):
            yield " ".join(spelt[word] for word in words[row].tolist()), sorted(set(labels[row].tolist()))


def _draw_labels(rng: np.random.Generator, num_labels: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Labels with probabilities close to 1 / (label + q), by inverting the integral of that density."""
    drawn = _HEAD * (1 + num_labels / _HEAD) ** rng.random(shape) - _HEAD
    return np.minimum(drawn.astype(np.int64), num_labels - 1)


def _generator(seed: int, stream: str, start: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS.index(stream), start])
