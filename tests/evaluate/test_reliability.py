from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from xmc.evaluate.reliability import Scaling, expected_calibration_error, fit_scaling, held_out, log_loss, unchanged

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


def test_calibration_error_by_hand() -> None:
    """Two bins of four: (0, 1/4] with mean 0.15 and no true pair, (3/4, 1] with mean 0.85 and one of two."""
    probabilities, hits = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, False])
    assert expected_calibration_error(probabilities, hits, bins=4) == pytest.approx(0.5 * 0.15 + 0.5 * 0.35)


def test_edges_belong_to_the_lower_bin() -> None:
    probabilities, hits = np.array([0.0, 0.5, 0.6]), np.array([True, False, True])
    assert expected_calibration_error(probabilities, hits, bins=2) == pytest.approx(abs(1 - 0.5) / 3 + 0.4 / 3)


@given(PAIRS)
def test_calibration_error_is_the_definition(pairs: list[tuple[float, bool]]) -> None:
    total = 0.0
    for i in range(15):
        bin_ = [(p, h) for p, h in pairs if i / 15 < p <= (i + 1) / 15 or (i == 0 and p == 0)]
        total += abs(sum(h - p for p, h in bin_)) / len(pairs)
    probabilities, hits = map(np.array, zip(*pairs, strict=True))
    assert expected_calibration_error(probabilities, hits) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("probabilities", [np.array([0.2]), np.array([0.2, 1.2]), np.array([0.2, np.nan])])
def test_what_is_no_probability(probabilities: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        expected_calibration_error(probabilities, np.array([True, False]))


@pytest.mark.parametrize("true", [Scaling(0.5, 0.0), Scaling(2.0, -1.5)])
def test_the_scaling_that_made_the_pairs_is_found(true: Scaling) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 40_000)
    hits = rng.random(40_000) < true(logits)
    found = fit_scaling(logits, hits, shift=true.shift != 0)
    assert (found.scale, found.shift) == pytest.approx((true.scale, true.shift), abs=0.06)
    assert expected_calibration_error(found(logits), hits) < 0.2 * expected_calibration_error(expit(logits), hits)


def test_no_ranking_is_ever_turned_round() -> None:
    logits = np.array([-1.0, 0.0, 1.0])
    assert fit_scaling(logits, logits < 0, shift=True).scale > 0
    certain = fit_scaling(logits, logits > 0, shift=True)
    assert np.isfinite([certain.scale, certain.shift]).all()


@given(
    st.lists(st.floats(-12, 12), min_size=1, max_size=100),
    st.floats(-12, 12),
    st.booleans(),
)
def test_few_pairs_make_nothing_certain(logits: list[float], cut: float, shift: bool) -> None:
    """Told apart without an error, as a few pairs often are, they would ask for an infinite scale."""
    values = np.array(logits)
    found = fit_scaling(values, values > cut, shift=shift)
    assert 0.1 <= found.scale <= 10 and abs(found.shift) <= 10 and (shift or found.shift == 0)
    one = fit_scaling(values[:1], values[:1] > cut, shift=shift)
    assert 0.25 < one.scale < 4 and abs(one.shift) < 4


def test_no_pair_asks_for_more_than_it_knows() -> None:
    """A hundred pairs of five documents that a cut at -0.4 tells apart: the fit was sigmoid(50 * logit + 21)."""
    logits = np.concatenate([np.linspace(-0.3, 2, 6), np.linspace(-6, -0.5, 94)])
    found = fit_scaling(logits, logits > -0.4, shift=True)
    assert 1 < found.scale < 3 and abs(found.shift) < 1 and found(np.array([1.0])) < 0.97
    assert unchanged(logits, logits > 0) == Scaling(1, 0)


def test_pairs_are_judged_by_a_fit_to_others() -> None:
    rng = np.random.default_rng(1)
    logits, folds = rng.normal(size=200), np.arange(200) % 4
    hits = rng.random(200) < expit(logits)
    fit = partial(fit_scaling, shift=True)
    before = held_out(logits, hits, folds, fit)
    hits[folds == 2] ^= True
    after = held_out(logits, hits, folds, fit)
    assert (before[folds == 2] == after[folds == 2]).all()
    assert (before[folds != 2] != after[folds != 2]).all()


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    assert log_loss(np.array([0.5, 0.5]), np.array([True, False])) == pytest.approx(np.log(2))
    assert np.isfinite(log_loss(np.array([0.0]), np.array([True])))
