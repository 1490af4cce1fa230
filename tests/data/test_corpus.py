from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset
from scipy.sparse import csr_matrix

from xmc.data.corpus import ArrowTexts, Corpus, Split, cut_dev, uniform_hash
from xmc.errors import XMCError


def split(documents: int = 200, labels: int = 5) -> Split:
    ids = [f"d{i}" for i in range(documents)]
    return Split(
        ids, [f"text {i}" for i in range(documents)], csr_matrix(np.eye(labels)[np.arange(documents) % labels])
    )


def corpus(**splits: Split) -> Corpus:
    return Corpus("toy", splits, list("abcde"), list("ABCDE"))


def test_fingerprint_depends_on_contents_alone() -> None:
    part = split()
    stored = Split(part.ids, ArrowTexts(Dataset.from_dict({"text": list(part.texts)})), part.labels)
    assert corpus(train=part).fingerprint == corpus(train=stored).fingerprint


@pytest.mark.parametrize("change", ["id", "text", "border", "label", "name", "split"])
def test_fingerprint_sees_every_change(change: str) -> None:
    part = split()
    ids, texts, labels = list(part.ids), list(part.texts), part.labels.copy()
    names, key = list("ABCDE"), "train"
    if change == "id":
        ids[3] = "other"
    elif change == "text":
        texts[3] = "other"
    elif change == "border":  # the same letters, divided otherwise
        texts[3], texts[4] = texts[3] + texts[4][:1], texts[4][1:]
    elif change == "label":
        labels.indices[3] = 0
    elif change == "name":
        names[0] = "other"
    else:
        key = "test"
    changed = Corpus("toy", {key: Split(ids, texts, labels)}, list("abcde"), names)
    assert changed.fingerprint != corpus(train=part).fingerprint


def test_label_counts() -> None:
    assert corpus(train=split(7)).label_counts("train").tolist() == [2, 2, 1, 1, 1]


def test_unknown_split_names_the_known() -> None:
    with pytest.raises(XMCError, match="toy has no split 'tset'; it has: train"):
        corpus(train=split()).split("tset")


def test_cut_dev_divides_train() -> None:
    cut = cut_dev(corpus(train=split(), test=split(3)), 0.2, seed=0)
    assert list(cut.splits) == ["train", "dev", "test"]
    train, dev = cut.split("train"), cut.split("dev")
    assert 20 < len(dev) < 60
    assert sorted([*train.ids, *dev.ids]) == sorted(split().ids)
    for part in (train, dev):
        rows = [int(id_[1:]) for id_ in part.ids]
        assert list(part.texts) == [f"text {row}" for row in rows]
        assert part.labels.indices.tolist() == [row % 5 for row in rows]


def test_cut_dev_ignores_the_order_and_heeds_the_seed() -> None:
    part = split()
    turned = part.select(range(len(part) - 1, -1, -1))
    chosen = set(cut_dev(corpus(train=part), 0.2, seed=0).split("dev").ids)
    assert set(cut_dev(corpus(train=turned), 0.2, seed=0).split("dev").ids) == chosen
    assert set(cut_dev(corpus(train=part), 0.2, seed=1).split("dev").ids) != chosen


def test_cut_dev_does_not_follow_another_hash_of_the_id() -> None:
    """A train split that was itself chosen by a hash of the id must still give a dev split."""
    ids = [id_ for id_ in (f"d{i}" for i in range(1000)) if uniform_hash(id_, 0) >= 0.2]
    part = Split(ids, ids, csr_matrix(np.ones((len(ids), 5))))
    assert 0.05 < len(cut_dev(corpus(train=part), 0.1, seed=0).split("dev")) / len(ids) < 0.15


def test_cut_dev_keeps_a_dev_split() -> None:
    whole = corpus(train=split(), dev=split(4))
    assert cut_dev(whole, 0.2, seed=0) is whole


def test_cut_dev_of_nothing_leaves_all_to_train() -> None:
    whole = corpus(train=split())
    assert cut_dev(whole, 0, seed=0) is whole


@pytest.mark.parametrize(
    ("fraction", "message"), [(1.0, "not in"), (-0.1, "not in"), (1e-9, "leave dev or train empty")]
)
def test_cut_dev_refuses(fraction: float, message: str) -> None:
    with pytest.raises(XMCError, match=message):
        cut_dev(corpus(train=split()), fraction, seed=0)


def test_arrow_texts_select_without_copying() -> None:
    texts = ArrowTexts(Dataset.from_dict({"text": list("abcdef"), "other": list(range(6))}))
    chosen = texts.select([4, 0])
    assert (len(chosen), list(chosen), chosen[0], chosen[-1], chosen[1:]) == (2, ["e", "a"], "e", "a", ["a"])


def test_over_another_vocabulary() -> None:
    moved = corpus(train=split(5)).over(list("xdb"), list("XDB"))
    assert moved.split("train").labels.toarray().tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert moved.label_names == list("XDB") and moved.split("train").texts == split(5).texts


@pytest.mark.parametrize("stored", [False, True])
def test_label_texts_are_training_documents(stored: bool) -> None:
    part = split(5)
    if stored:
        part = Split(part.ids, ArrowTexts(Dataset.from_dict({"text": list(part.texts)})), part.labels)
    plain = Corpus("toy", {"train": part, "test": split(3)}, list("12cde"), ["1", "Bee", "3", "d", "7-4"])
    taught = plain.with_label_texts()
    train = taught.split("train")
    assert list(train.texts)[5:] == ["Bee", "d"] and train.ids[5:] == ["label:2", "label:d"]
    assert train.labels[5:].toarray().tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert taught.split("test") is plain.split("test") and len(plain.split("train")) == 5


@pytest.mark.parametrize("stored", [False, True])
def test_what_was_cut_joins_train_again(stored: bool) -> None:
    part = split(30)
    if stored:
        part = replace(part, texts=ArrowTexts(Dataset.from_dict({"text": list(part.texts)})))
    cut = cut_dev(corpus(train=part), 0.2, seed=0)
    again = cut.with_cut_dev_in_train().split("train")
    assert again.ids == [*cut.split("train").ids, *cut.split("dev").ids] and sorted(again.ids) == sorted(part.ids)
    texts = dict(zip(part.ids, part.texts, strict=True))
    assert [texts[id_] for id_ in again.ids] == list(again.texts)
    assert again.labels.sum() == part.labels.sum()


def test_a_dev_split_of_its_own_stays_out_of_train() -> None:
    whole = corpus(train=split(), dev=split(3))
    assert whole.with_cut_dev_in_train() is whole
