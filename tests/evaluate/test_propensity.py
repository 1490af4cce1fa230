import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from xmc.evaluate.propensity import inverse_propensity


def test_by_hand() -> None:
    # N = 1000, A = 1, B = 1: C = (ln 1000 - 1) * 2.
    c = (math.log(1000) - 1) * 2
    assert_allclose(inverse_propensity([0, 1, 9], 1000, A=1, B=1), [1 + c, 1 + c / 2, 1 + c / 10], rtol=1e-15)


def test_defaults_are_those_of_the_other_benchmarks() -> None:
    assert_array_equal(inverse_propensity([0, 5], 100), inverse_propensity([0, 5], 100, A=0.55, B=1.5))


@given(st.integers(1, 10**7), st.floats(0.1, 2), st.floats(0.1, 5), st.data())
def test_propensities_are_probabilities_and_grow(n: int, A: float, B: float, data: st.DataObject) -> None:
    counts = np.sort(np.array(data.draw(st.lists(st.integers(0, n), min_size=2))))
    weights = inverse_propensity(counts, n, A, B)
    assert weights.dtype == np.float64
    assert (weights >= 1).all()
    assert (np.diff(weights) <= 0).all()


@pytest.mark.parametrize(
    ("counts", "n", "constants", "names"),
    [
        ([1], 0, (0.55, 1.5), "num_train"),
        ([11], 10, (0.55, 1.5), "train_counts"),
        ([-1], 10, (0.55, 1.5), "train_counts"),
        ([[1]], 10, (0.55, 1.5), "train_counts"),
        ([math.nan], 10, (0.55, 1.5), "train_counts"),
        ([1], 10, (0, 1.5), "A, B"),
        ([1], 10, (0.55, 0), "A, B"),
    ],
)
def test_bad_arguments(counts: list, n: int, constants: tuple[float, float], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        inverse_propensity(counts, n, *constants)
