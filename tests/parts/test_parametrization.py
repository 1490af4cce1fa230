import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.parts.parametrization import Standard, SuPar


def test_standard_is_the_usual_start_and_one_rate() -> None:
    assert Standard().init_bound(64) == 1 / 8
    assert Standard().classifier_rate(7) == Standard().hidden_rate(7) == 1


@given(st.integers(1, 4096), st.integers(1, 4096), st.floats(0, 1))
def test_at_the_base_nothing_changes(base_fan_in: int, base_width: int, exponent: float) -> None:
    rules = SuPar(base_fan_in=base_fan_in, base_width=base_width, exponent=exponent)
    assert rules.classifier_rate(base_fan_in) == rules.hidden_rate(base_width) == 1
    assert rules.init_bound(base_fan_in) == 1 / math.sqrt(base_fan_in)


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_variance_and_rate_fall_with_the_connections(base: int, fan_in: int) -> None:
    """SmuPar, table 1: variance s^2 / m and learning rate eta / m, m = K / K_base."""
    rules, m = SuPar(base_fan_in=base, base_width=100), fan_in / base
    assert rules.init_bound(fan_in) ** 2 / 3 == pytest.approx((1 / (3 * base)) / m)
    assert rules.classifier_rate(fan_in) == pytest.approx(1 / m)


def test_the_exponent_softens_the_rate_alone() -> None:
    soft = SuPar(base_fan_in=128, base_width=1024, exponent=0.5)
    assert soft.classifier_rate(32) == pytest.approx(2)
    assert soft.hidden_rate(4096) == pytest.approx(0.5)
    assert soft.init_bound(32) == SuPar(base_fan_in=128, base_width=1024).init_bound(32)
