import numpy as np
import pytest

from xmc.data.assemble import RawSplit, assemble, label_lists
from xmc.errors import XMCError


def raw(labels: list[list[str]], name: str = "train.jsonl", first: int = 0) -> RawSplit:
    ids = [f"d{first + row}" for row in range(len(labels))]
    return RawSplit(ids, [f"text of {id_}" for id_ in ids], label_lists(labels), lambda row: f"{name}:{row + 1}")


def test_vocabulary_is_the_sorted_union_of_all_splits() -> None:
    corpus = assemble("toy", {"train": raw([["b"], ["a", "b"]]), "test": raw([["z"], []], "test.jsonl", 2)})
    assert corpus.label_ids == ["a", "b", "z"]
    assert corpus.label_names == ["a", "b", "z"]
    assert corpus.label_counts("train").tolist() == [1, 2, 0]
    assert corpus.split("test").labels.toarray().tolist() == [[0, 0, 1], [0, 0, 0]]


def test_matrix_is_sorted_and_without_repeats() -> None:
    labels = assemble("toy", {"train": raw([["c", "a", "c", "b"], [], ["b"]])}).split("train").labels
    assert labels.dtype == np.float32
    assert labels.indices.tolist() == [0, 1, 2, 1]
    assert labels.indptr.tolist() == [0, 3, 3, 4]
    assert labels.data.tolist() == [1, 1, 1, 1]


def test_all_labels_of_the_file_are_kept_in_their_order() -> None:
    corpus = assemble("toy", {"train": raw([["b"]])}, {"c": "Cee", "b": "Bee"})
    assert (corpus.label_ids, corpus.label_names) == (["c", "b"], ["Cee", "Bee"])
    assert corpus.split("train").labels.toarray().tolist() == [[0, 1]]


def test_label_missing_from_the_file() -> None:
    with pytest.raises(
        XMCError, match=r"train.jsonl:3: document 'd2' has the label 'gamme'.* not in L.tsv .*'gamma'.*add it"
    ):
        assemble("toy", {"train": raw([["beta"], [], ["beta", "gamme"]])}, {"beta": "b", "gamma": "g"}, "L.tsv")


def test_empty_label() -> None:
    with pytest.raises(XMCError, match=r"train.jsonl:2: document 'd1' has an empty label among \['a', ''\]; remove it"):
        assemble("toy", {"train": raw([["a"], ["a", ""]])})


@pytest.mark.parametrize("first", [0, 1])
def test_id_twice(first: int) -> None:
    message = rf"test.jsonl:1: document id 'd{first}' stands at train.jsonl:{first + 1} already; .* unique"
    with pytest.raises(XMCError, match=message):
        assemble("toy", {"train": raw([["a"], ["b"]]), "test": raw([["a"]], "test.jsonl", first)})


def test_no_labels_at_all() -> None:
    with pytest.raises(XMCError, match=r"toy: no labels at all in train \(2 documents\); is the label field"):
        assemble("toy", {"train": raw([[], []]), "test": raw([["a"]], "test.jsonl", 2)})
