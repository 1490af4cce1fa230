"""Old documents behind new ones, over the labels of both."""

import numpy as np
import pytest
from datasets import Dataset
from scipy.sparse import csr_matrix

from xmc.data.corpus import ArrowTexts, Corpus, Split, mixed
from xmc.errors import XMCError


def split(labels: list[list[int]], filter: list[list[int]] | None = None, arrow: bool = False) -> Split:
    ids = [str(row) for row in range(len(labels))]
    texts = [f"text {id_}" for id_ in ids]
    left_out = None if filter is None else csr_matrix(np.array(filter, np.float32))
    return Split(
        ids,
        ArrowTexts(Dataset.from_dict({"text": texts})) if arrow else texts,
        csr_matrix(np.array(labels, np.float32)),
        left_out,
    )


@pytest.mark.parametrize("arrow", [False, True])
def test_documents_and_labels_of_both(arrow: bool) -> None:
    new = Corpus("new", {"train": split([[1, 0], [0, 1]], arrow=arrow)}, ["a", "b"], ["A", "B"])
    old_splits = {"train": split([[1, 1]], arrow=arrow), "dev": split([[0, 1]], [[1, 0]], arrow=arrow)}
    both = mixed(new, Corpus("old", old_splits, ["c", "a"], ["C", "another A"]), 1.0, "old:")
    assert (both.label_ids, both.label_names) == (["a", "b", "c"], ["A", "B", "C"])
    train, dev = both.split("train"), both.split("dev")
    assert list(train.ids) == ["0", "1", "old:0"] and list(train.texts) == ["text 0", "text 1", "text 0"]
    assert train.labels.toarray().tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]] and train.filter is None
    assert dev.labels.toarray().tolist() == [[1, 0, 0]] and dev.filter is not None
    assert dev.filter.toarray().tolist() == [[0, 0, 1]]


def test_filters_of_one_side_leave_the_other_alone() -> None:
    new = Corpus("new", {"train": split([[1, 1]])}, ["a", "b"], ["a", "b"])
    old = Corpus("old", {"train": split([[1, 0]], [[0, 1]])}, ["a", "b"], ["a", "b"])
    for first, second, expected in ((new, old, [[0, 0], [0, 1]]), (old, new, [[0, 1], [0, 0]])):
        both = mixed(first, second, 1.0, "old:").split("train")
        assert both.filter is not None and both.filter.toarray().tolist() == expected and both.filter.nnz == 1


def test_a_fraction_is_chosen_by_id() -> None:
    new = Corpus("new", {"train": split([[1]])}, ["a"], ["a"])
    old = Corpus("old", {"train": split([[1]] * 1000)}, ["a"], ["a"])
    ids = list(mixed(new, old, 0.2, "old:").split("train").ids)
    assert 150 < len(ids) < 250 and ids == list(mixed(new, old, 0.2, "old:").split("train").ids)
    assert set(ids) < set(mixed(new, old, 0.3, "old:").split("train").ids)
    few = Corpus("old", {"train": split([[1]])}, ["a"], ["a"])
    with pytest.raises(XMCError, match=r"replay_fraction=1e-06 of 1 documents of old is none"):
        mixed(new, few, 1e-6, "old:")


def test_texts_and_numbers_do_not_mix() -> None:
    new = Corpus("new", {"train": split([[1]])}, ["a"], ["a"])
    with pytest.raises(XMCError, match="new holds texts and bags 7 features; mix data of one kind"):
        mixed(new, Corpus("bags", new.splits, ["a"], ["a"], num_features=7), 1.0, "old:")
