import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Sequence, Value, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from xmc.data.batches import Batches, rows_by_length, shuffled_rows
from xmc.types import Batch

PAD = 99
lengths_of_documents = st.lists(st.integers(0, 30), max_size=400).map(lambda values: np.array(values, dtype=np.int64))


def make(documents: int = 230, batch_size: int = 4, seed: int = 0, chunks: int = 3) -> Batches:
    """Document i has i % 7 tokens, all of them i, and the labels {i % 3, i % 5}."""
    features = Features({"input_ids": Sequence(Value("int32"))})
    parts = [
        Dataset.from_dict({"input_ids": [[i] * (i % 7) for i in rows]}, features=features)
        for rows in np.array_split(np.arange(documents), chunks)
    ]
    rows = np.arange(documents)[:, None]
    labels = csr_matrix(((rows % 3 == np.arange(5)) | (rows % 5 == np.arange(5))).astype(np.float32))
    return Batches(concatenate_datasets(parts), labels, PAD, batch_size, seed)


def same(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a.rows, b.rows)
        and torch.equal(a.input_ids, b.input_ids)
        and torch.equal(a.positives.labels, b.positives.labels)
        for a, b in zip(left, right, strict=True)
    )


@given(lengths=lengths_of_documents, batch_size=st.integers(1, 9), seed=st.integers(0, 2**40), epoch=st.integers(0, 99))
def test_each_row_once_an_epoch(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> None:
    batches = shuffled_rows(lengths, batch_size, seed, epoch)
    assert sorted(np.concatenate([np.zeros(0, np.int64), *batches]).tolist()) == list(range(len(lengths)))
    sizes = sorted((len(rows) for rows in batches), reverse=True)
    assert len(batches) == -(-len(lengths) // batch_size)
    assert all(size == batch_size for size in sizes[:-1])
    again = shuffled_rows(lengths, batch_size, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


@given(lengths=lengths_of_documents, batch_size=st.integers(1, 9))
def test_evaluation_has_each_row_once_and_the_longest_first(lengths: np.ndarray, batch_size: int) -> None:
    rows = np.concatenate([np.zeros(0, np.int64), *rows_by_length(lengths, batch_size)])
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert np.all(np.diff(lengths[rows]) <= 0)


def test_seed_and_epoch_decide_the_order() -> None:
    orders = {
        (seed, epoch): tuple(np.concatenate(shuffled_rows(np.arange(500), 4, seed, epoch)).tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4


def test_batches_hold_documents_of_similar_length_in_shuffled_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 500, 10_000)
    batches = shuffled_rows(lengths, 16, seed=0, epoch=0)
    waste = 1 - lengths.sum() / sum(len(rows) * lengths[rows].max() for rows in batches)
    assert waste < 0.03
    means = np.array([lengths[rows].mean() for rows in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.15


@given(seed=st.integers(0, 2**32), epoch=st.integers(0, 3), start=st.integers(0, 58))
@settings(max_examples=25)
def test_resuming_at_any_step_gives_the_same_batches(seed: int, epoch: int, start: int) -> None:
    whole = list(make(seed=seed).epoch(epoch))
    assert len(whole) == make().steps_per_epoch == 58
    assert same(list(make(seed=seed).epoch(epoch, start)), whole[start:])


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_batch_holds_its_documents(chunks: int) -> None:
    seen = []
    for batch in make(chunks=chunks).epoch(0):
        assert {tensor.dtype for tensor in (batch.input_ids, batch.attention_mask, batch.rows)} == {torch.int64}
        lengths = batch.rows % 7
        assert batch.input_ids.shape == batch.attention_mask.shape == (len(batch), max(1, int(lengths.max())))
        assert torch.equal(batch.attention_mask.sum(1), lengths)
        for i, row in enumerate(batch.rows.tolist()):
            assert batch.input_ids[i].tolist() == [row] * (row % 7) + [PAD] * (batch.input_ids.shape[1] - row % 7)
            first, last = batch.positives.offsets[i : i + 2].tolist()
            assert batch.positives.labels[first:last].tolist() == sorted({row % 3, row % 5})
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(230))


def test_by_length_gives_rows_to_put_results_back() -> None:
    batches = make()
    rows = torch.cat([batch.rows for batch in batches.by_length()])
    assert torch.equal(rows.sort().values, torch.arange(230))
    assert next(iter(batches.by_length())).attention_mask.sum(1).tolist() == [6, 6, 6, 6]


@pytest.mark.parametrize("chunks", [1, 3])
def test_flat_tokens(chunks: int) -> None:
    tokens, offsets = make(documents=23, chunks=chunks).flat_tokens()
    assert (tokens.dtype, offsets.dtype) == (np.int32, np.int64)
    assert tokens.tolist() == [i for i in range(23) for _ in range(i % 7)]
    assert np.diff(offsets).tolist() == [i % 7 for i in range(23)]


def test_no_documents() -> None:
    batches = make(documents=0, chunks=1)
    assert batches.steps_per_epoch == 0
    assert list(batches.by_length()) == []


def test_wrong_arguments() -> None:
    tokens = Dataset.from_dict({"input_ids": [[1]]})
    with pytest.raises(ValueError, match="tokens has 1 documents, labels 2"):
        Batches(tokens, csr_matrix((2, 3)), PAD, 4)
    with pytest.raises(ValueError, match="batch_size is 0"):
        Batches(tokens, csr_matrix((1, 3)), PAD, 0)
