import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.train.loop import ScheduleKind, learning_rate_multiplier

KINDS: list[ScheduleKind] = ["cosine", "linear", "constant"]


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [("cosine", 10, 1.0), ("cosine", 60, 0.5), ("cosine", 110, 0.0), ("linear", 35, 0.75), ("constant", 109, 1.0)],
)
def test_by_hand(kind: ScheduleKind, step: int, expected: float) -> None:
    assert learning_rate_multiplier(step, 110, 10, kind) == pytest.approx(expected)


def test_warm_up_is_linear_and_never_zero() -> None:
    assert [learning_rate_multiplier(s, 100, 4, "constant") for s in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])


@given(st.integers(0, 500), st.integers(1, 400), st.integers(0, 100), st.sampled_from(KINDS))
def test_range(step: int, total: int, warmup: int, kind: ScheduleKind) -> None:
    assert 0 <= learning_rate_multiplier(step, total, warmup, kind) <= 1


@given(st.integers(1, 300), st.integers(0, 50), st.sampled_from(KINDS))
def test_never_rises_after_the_warm_up(total: int, warmup: int, kind: ScheduleKind) -> None:
    values = [learning_rate_multiplier(s, total, warmup, kind) for s in range(warmup, total)]
    assert values == sorted(values, reverse=True)
