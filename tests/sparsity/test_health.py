import math

import pytest
import torch
from ops.cases import Largest

from xmc.sparsity.health import TopologyHealth, gini
from xmc.sparsity.topology import init_index, random_growth, rewire_


def index_of(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int16)


def test_by_hand() -> None:
    health = TopologyHealth(index_of([[0, 1], [2, 3], [4, 5]]), 6)
    first = health.record(index_of([[1, 0], [2, 5], [4, 5]]), 10)  # a swap of slots is no change
    assert first["turnover"] == pytest.approx(1 / 6)
    assert first["changed_rows"] == pytest.approx(1 / 3)
    assert first["age_mean"] == pytest.approx(50 / 6) and first["age_median"] == 10
    assert (first["degree_min"], first["degree_max"]) == (0, 2)
    second = health.record(index_of([[1, 0], [2, 3], [4, 5]]), 15)
    assert second["age_mean"] == pytest.approx((5 * 15 + 0) / 6)


def test_disjoint_rows_have_no_gap_and_equal_rows_the_widest() -> None:
    disjoint, equal = index_of([[0, 1], [2, 3]]), index_of([[0, 1], [1, 0]])
    assert TopologyHealth(disjoint, 4).record(disjoint, 1)["spectral_gap"] == pytest.approx(0, abs=1e-7)
    assert TopologyHealth(equal, 4).record(equal, 1)["spectral_gap"] == pytest.approx(2)


def test_a_random_mask_is_a_good_expander() -> None:
    index = init_index(1000, 16, 256, 0)
    figures = TopologyHealth(index, 256).record(index, 1)
    assert figures["spectral_gap"] > 0.8 * figures["spectral_gap_ramanujan"] > 0


@pytest.mark.parametrize("counts, expected", [([5, 5, 5], 0.0), ([0, 0, 6], 2 / 3), ([0, 0], 0.0), ([1, 3], 0.25)])
def test_gini(counts: list[int], expected: float) -> None:
    assert gini(torch.tensor(counts)) == pytest.approx(expected)


def test_what_it_follows_outlives_a_checkpoint() -> None:
    index, weight = init_index(30, 4, 50, 0), torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    one, two = TopologyHealth(index, 50), TopologyHealth(index, 50)
    for step in (5, 10):
        growth = random_growth(index, 50, seed=0, step=step)
        rewire_(weight, index, torch.full((30,), 2), 50, growth)
        expected = one.record(index, step)
        if step == 5:
            two.load({name: tensor.clone() for name, tensor in one.tensors().items()})
    assert two.record(index, 10) == expected and not math.isnan(expected["age_mean"])


def test_wide_rows_take_no_more_than_their_columns() -> None:
    index = init_index(256, 900, 1000, 0)
    health = TopologyHealth(index, 1000)
    with Largest() as largest:
        assert health.record(index, 5)["age_mean"] == 5
    assert largest.elements <= 256 * 1000
