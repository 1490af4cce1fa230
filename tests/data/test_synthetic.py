import tracemalloc
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.data.corpus import Corpus
from xmc.data.planted import draw_documents, label_words, spelling
from xmc.data.synthetic import SyntheticData
from xmc.errors import XMCError

SHAPE: dict[str, Any] = {
    "num_labels": 2000,
    "num_words": 500,
    "labels_per_document": 3,
    "words_per_label": 4,
    "noise_words": 12,
    "seed": 0,
}


def read(cache: Path, num_documents: int = 2000, **shape: int) -> Corpus:
    return SyntheticData(num_documents=num_documents, cache_dir=str(cache), **SHAPE | shape).read()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read(tmp_path_factory.mktemp("cache"))


def test_splits_and_vocabulary(corpus: Corpus) -> None:
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 2000, "test": 200}
    assert (corpus.label_ids[0], corpus.label_ids[-1], len(corpus.label_ids)) == ("label-0", "label-1999", 2000)
    words = label_words(2000, 4, 500, seed=0)
    assert corpus.label_names[7] == " ".join(spelling(word, 500) for word in words[7])


def test_sizes_and_seed_decide_everything(corpus: Corpus, tmp_path: Path) -> None:
    assert read(tmp_path).fingerprint == corpus.fingerprint
    assert read(tmp_path, seed=1).split("train").texts[0] != corpus.split("train").texts[0]


def test_more_documents_leave_the_first_as_they_are(corpus: Corpus, tmp_path: Path) -> None:
    few, many = read(tmp_path, 1001).split("train"), corpus.split("train")
    assert list(few.texts) == many.texts[:1001]
    assert (few.labels != many.labels[:1001]).nnz == 0


def test_a_label_applies_where_all_its_words_occur(corpus: Corpus) -> None:
    """So an oracle that knows the words of all labels finds a document's own, and chance adds hardly any."""
    words_of = [set(name.split()) for name in corpus.label_names]
    test = corpus.split("test")
    more = 0
    for text, row in zip(test.texts, test.labels, strict=True):
        words = set(text.split())
        found = {label for label, own in enumerate(words_of) if own <= words}
        assert set(row.indices.tolist()) <= found
        more += len(found) - row.nnz
    assert more < 0.05 * test.labels.nnz


def test_no_single_word_tells(corpus: Corpus) -> None:
    owners = np.bincount(label_words(2000, 4, 500, seed=0).ravel(), minlength=500)
    assert owners.min() > 1
    train = corpus.split("train")
    for word in corpus.label_names[100].split():
        with_word = [row for row, text in enumerate(train.texts) if word in text.split()]
        assert 0.02 < train.labels[with_word][:, 100].mean() < 0.3


def test_frequencies_follow_zipf_mandelbrot(corpus: Corpus) -> None:
    share = corpus.label_counts("train")[:20] / corpus.split("train").labels.nnz
    law = np.diff(np.log(np.arange(21) + 10)) / np.log(2010 / 10)
    assert abs(share - law).max() < 4 * np.sqrt(law.max() / 6000)
    assert share[:5].sum() > 1.5 * share[10:15].sum()


def test_documents_stream() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        deque(draw_documents("train", count, **SHAPE), maxlen=0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(6000) < 1.1 * peak(3000)


@given(st.integers(1, 10**7), st.data())
def test_spellings_are_told_apart(num_words: int, data: st.DataObject) -> None:
    word = st.integers(0, num_words - 1)
    one, other = data.draw(word), data.draw(word)
    assert (spelling(one, num_words) == spelling(other, num_words)) == (one == other)
    assert spelling(one, num_words).isalpha()


def test_more_words_a_label_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(XMCError, match=r"words_per_label=4 exceeds data\.num_words=3; lower it"):
        read(tmp_path, num_words=3)
