from collections.abc import Iterator
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import xmc.sparsity.topology
from xmc.sparsity.topology import below_threshold, fraction_to_drop, init_index, random_growth, rewire_


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xmc.sparsity.topology, "_BLOCK", 7)
        yield


def rewired(
    weight: torch.Tensor,
    index: torch.Tensor,
    counts: torch.Tensor,
    in_features: int,
    *,
    seed: int = 0,
    step: int = 1,
    offset: int = 0,
) -> tuple[torch.Tensor, int]:
    """In place, with random growth."""
    growth = random_growth(index, in_features, seed=seed, step=step, offset=offset)
    return rewire_(weight, index, counts, in_features, growth)


def has_repeats(index: torch.Tensor) -> bool:
    ordered = index.sort(dim=1).values
    return bool((ordered[:, 1:] == ordered[:, :-1]).any())


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    in_features = draw(st.integers(1, 30))
    n_labels = draw(st.sampled_from([1, 6, 7, 20]))
    return n_labels, draw(st.integers(1, in_features)), in_features, draw(st.integers(0, 999))


@given(shapes())
def test_initial_rows_have_k_distinct_columns(shape: tuple[int, int, int, int]) -> None:
    n_labels, fan_in, in_features, seed = shape
    index = init_index(n_labels, fan_in, in_features, seed)
    assert index.shape == (n_labels, fan_in) and index.dtype == torch.int16
    assert int(index.min()) >= 0 and int(index.max()) < in_features and not has_repeats(index)


def test_every_subset_is_equally_likely() -> None:
    subsets = init_index(20_000, 2, 5, 0).sort(dim=1).values.tolist()
    counts = torch.tensor([subsets.count(list(pair)) for pair in combinations(range(5), 2)])
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 27.9  # chi-squared, 9 d.o.f., p = .001


def test_growth_is_uniform_over_the_absent_columns() -> None:
    index = torch.tensor([1, 4, 0], dtype=torch.int16).repeat(20_000, 1)
    weight = torch.tensor([0.1, 0.2, 3.0]).repeat(20_000, 1)
    rewired(weight, index, torch.full((20_000,), 2), 8, seed=0, step=1)
    subsets = index[:, :2].sort(dim=1).values.tolist()
    counts = torch.tensor([subsets.count(list(pair)) for pair in combinations([2, 3, 5, 6, 7], 2)])
    assert int(counts.sum()) == 20_000
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 27.9  # chi-squared, 9 d.o.f., p = .001


def test_wide_layers_have_a_32_bit_index() -> None:
    assert init_index(3, 2, 32_767, 0).dtype == torch.int16
    index = init_index(3, 2, 40_000, 0)
    assert index.dtype == torch.int32
    rewired(torch.zeros(3, 2), index, torch.full((3,), 2), 40_000, seed=0, step=1)
    assert not has_repeats(index) and int(index.max()) < 40_000


@pytest.mark.parametrize("fan_in", [0, 9])
def test_fan_in_out_of_range(fan_in: int) -> None:
    with pytest.raises(ValueError, match=rf"fan_in: expected an integer in \[1, 8\], got {fan_in}"):
        init_index(2, fan_in, 8, 0)


@given(shapes(), st.data())
@settings(max_examples=200)
def test_rewiring(shape: tuple[int, int, int, int], data: st.DataObject) -> None:
    """Exact counts, the smallest go, the kept stay bit for bit, the new columns were absent and do not repeat."""
    n_labels, fan_in, in_features, seed = shape
    index = init_index(n_labels, fan_in, in_features, seed)
    weight = torch.randn(n_labels, fan_in, generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor(data.draw(st.lists(st.integers(0, fan_in), min_size=n_labels, max_size=n_labels)))
    old_weight, old_index = weight.clone(), index.clone()
    moved, many = rewired(weight, index, counts, in_features, seed=seed, step=1)

    expected = counts.clamp(max=in_features - fan_in)
    assert torch.equal(moved.sum(1), expected)
    assert many == int(expected.sum())
    assert not has_repeats(index) and int(index.min()) >= 0 and int(index.max()) < in_features
    assert torch.equal(weight[~moved], old_weight[~moved]) and torch.equal(index[~moved], old_index[~moved])
    assert not weight[moved].any()
    for row in range(n_labels):
        gone, stays = old_weight[row, moved[row]].abs(), old_weight[row, ~moved[row]].abs()
        assert not len(gone) or not len(stays) or gone.max() <= stays.min()
        assert not set(index[row, moved[row]].tolist()) & set(old_index[row].tolist())


def test_of_equal_magnitudes_the_earlier_slot_goes() -> None:
    index, weight = init_index(3, 4, 20, 0), torch.tensor([[1.0, -0.5, 0.5, 0.5]]).repeat(3, 1)
    moved, _ = rewired(weight, index, torch.tensor([1, 2, 3]), 20, seed=0, step=1)
    assert moved.int().tolist() == [[0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]


def test_more_wanted_than_absent_keeps_the_largest_of_the_dropped() -> None:
    index, weight = init_index(1, 4, 5, 0), torch.tensor([[0.4, 0.1, 0.3, 0.2]])
    moved, many = rewired(weight, index, torch.tensor([3]), 5, seed=0, step=1)
    assert moved.int().tolist() == [[0, 1, 0, 0]] and many == 1 and not has_repeats(index)


def test_a_full_row_cannot_change() -> None:
    index, weight = init_index(3, 4, 4, 0), torch.zeros(3, 4)
    before = index.clone()
    moved, many = rewired(weight, index, torch.full((3,), 4), 4, seed=0, step=1)
    assert not moved.any() and many == 0 and torch.equal(index, before)


def test_shards_blocks_and_threads_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    counts = torch.arange(50) % 5
    threads = torch.get_num_threads()
    results = []
    try:
        for n, block, bounds in ((1, 7, [0, 50]), (2, 64, [0, 50]), (1, 7, [0, 13, 14, 50])):
            torch.set_num_threads(n)
            monkeypatch.setattr(xmc.sparsity.topology, "_BLOCK", block)
            parts = []
            for first, last in pairwise(bounds):
                index = init_index(last - first, 6, 40, 3, offset=first)
                rewired(weight[first:last].clone(), index, counts[first:last], 40, seed=3, step=9, offset=first)
                parts.append(index)
            results.append(torch.cat(parts))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_another_step_or_seed_grows_elsewhere() -> None:
    grown = []
    for seed, step in ((0, 1), (0, 2), (1, 1)):
        index = init_index(20, 6, 400, 0)
        rewired(torch.zeros(20, 6), index, torch.full((20,), 6), 400, seed=seed, step=step)
        grown.append(index)
    assert grown[0].ne(grown[1]).any() and grown[0].ne(grown[2]).any()


def test_a_parameter_is_rewired_in_place() -> None:
    weight, index = torch.nn.Parameter(torch.ones(3, 4)), init_index(3, 4, 20, 0)
    rewired(weight, index, torch.full((3,), 2), 20, seed=0, step=1)
    assert weight.requires_grad and int((weight == 0).sum()) == 6


def test_counts() -> None:
    weight = torch.tensor([[0.1, -0.2, 0.3, 0.4], [0.1, 0.1, 0.1, -0.1]])
    index = init_index(2, 4, 20, 0)
    assert below_threshold(weight, index, 0.25).tolist() == [2, 4]
    assert fraction_to_drop(index, 0.25).tolist() == [1, 1]
    assert fraction_to_drop(index, 0.4).tolist() == [2, 2]


def test_a_group_counts_by_its_mean_magnitude() -> None:
    """Five labels in groups of two; the last group has one."""
    weight = torch.tensor([[0.1, 0.9], [0.5, 0.1], [0.0, 0.2], [0.1, 0.0], [0.2, 0.4]])
    index = init_index(3, 2, 20, 0)
    assert below_threshold(weight, index, 0.25).tolist() == [0, 2, 1]
    assert fraction_to_drop(index, 0.5).tolist() == [1, 1, 1]


@given(shapes(), st.integers(2, 9), st.data())
def test_a_group_is_rewired_as_one(shape: tuple[int, int, int, int], size: int, data: st.DataObject) -> None:
    n_groups, fan_in, in_features, seed = shape
    n_labels = n_groups * size - data.draw(st.integers(0, size - 1))
    index = init_index(n_groups, fan_in, in_features, seed)
    weight = torch.randn(n_labels, fan_in, generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor(data.draw(st.lists(st.integers(0, fan_in), min_size=n_groups, max_size=n_groups)))
    old_weight, old_index = weight.clone(), index.clone()
    assume(n_labels > (n_groups - 1) * size and -(-n_labels // -(-n_labels // n_groups)) == n_groups)
    moved, many = rewired(weight, index, counts, in_features, seed=seed, step=1)
    assert many == int(counts.clamp(max=in_features - fan_in).sum())
    assert not has_repeats(index)
    assert torch.equal(weight[~moved], old_weight[~moved]) and not weight[moved].any()
    size = -(-n_labels // n_groups)
    for g, rows in enumerate(moved.split(size)):
        assert (rows == rows[0]).all()
        assert torch.equal(index[g, ~rows[0]], old_index[g, ~rows[0]])
        magnitude = old_weight.split(size)[g].abs().mean(0)
        gone, stays = magnitude[rows[0]], magnitude[~rows[0]]
        assert not len(gone) or not len(stays) or gone.max() <= stays.min() + 1e-6
