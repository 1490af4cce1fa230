"""Synthetic sets with planted structure, of any size: what a number of labels costs, before there is any data."""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xmc.data.assemble import assemble
from xmc.data.corpus import Corpus
from xmc.data.store import Document, stored
from xmc.errors import XMCError

_SPLITS = {"train": 1, "test": 10}  # a test document for every ten to train on
_STREAMS = ("labels", *_SPLITS)  # of random numbers
_BLOCK = 1000  # documents drawn together
_HEAD = 10  # q in the label frequencies, 1 / (rank + q)
_SYLLABLES = ["".join(pair) for pair in product("bdfgklmnprstvz", "aeiou")]


def read_synthetic(
    num_labels: int,
    num_documents: int,
    *,
    num_words: int,
    labels_per_document: int,
    words_per_label: int,
    noise_words: int,
    seed: int = 0,
    cache_dir: str | Path | None = None,
) -> Corpus:
    """A corpus of `num_documents` to train on and a tenth as many to test on; seed and sizes decide every document.

    Each label owns `words_per_label` of `num_words` made-up words, and shares each of them with other labels. A
    document draws `labels_per_document` labels (one drawn twice counts once); its text is the words of them and
    `noise_words` others in random order. So a label applies where all its words occur, chance aside, and no single word
    tells. Label frequencies follow the Zipf-Mandelbrot law, label 0 the most frequent. A label's name is its words.

    Documents are drawn and stored a block at a time. More of them leave the first ones as they are.

    Raises XMCError where a label would own more words than there are.
    """
    if words_per_label > num_words:
        raise XMCError(f"data.words_per_label={words_per_label} exceeds data.num_words={num_words}; lower it")
    splits = {
        split: stored(
            _documents,
            (),
            None if cache_dir is None else Path(cache_dir),
            label_type="int32",
            split=split,
            count=max(1, num_documents // share),
            num_labels=num_labels,
            num_words=num_words,
            labels_per_document=labels_per_document,
            words_per_label=words_per_label,
            noise_words=noise_words,
            seed=seed,
        )
        for split, share in _SPLITS.items()
    }
    words_of = label_words(num_labels, words_per_label, num_words, seed)
    return assemble("synthetic", splits, _LabelNames(words_of, num_words))


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


class _LabelNames(Mapping[str, str]):
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


def _documents(
    files: tuple[()],
    split: str,
    count: int,
    num_labels: int,
    num_words: int,
    labels_per_document: int,
    words_per_label: int,
    noise_words: int,
    seed: int,
) -> Iterator[Document]:
    words_of = label_words(num_labels, words_per_label, num_words, seed)
    spelt = [spelling(word, num_words) for word in range(num_words)]
    for start in range(0, count, _BLOCK):
        rng = _generator(seed, split, start)
        labels = _draw_labels(rng, num_labels, (_BLOCK, labels_per_document))
        noise = rng.integers(num_words, size=(_BLOCK, noise_words))
        words = rng.permuted(np.concatenate([words_of[labels].reshape(_BLOCK, -1), noise], axis=1), axis=1)
        for row in range(start, min(start + _BLOCK, count)):
            text = " ".join(spelt[word] for word in words[row - start].tolist())
            yield row + 1, f"{split}-{row}", text, sorted(set(labels[row - start].tolist()))


def _draw_labels(rng: np.random.Generator, num_labels: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Labels with probabilities close to 1 / (label + q), by inverting the integral of that density."""
    drawn = _HEAD * (1 + num_labels / _HEAD) ** rng.random(shape) - _HEAD
    return np.minimum(drawn.astype(np.int64), num_labels - 1)


def _generator(seed: int, stream: str, start: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS.index(stream), start])
