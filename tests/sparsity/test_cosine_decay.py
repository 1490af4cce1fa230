import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.sparsity.drop_and_grow import cosine_decay


def test_by_hand() -> None:
    assert cosine_decay(0, 0.3, 100) == pytest.approx(0.3)
    assert cosine_decay(50, 0.3, 100) == pytest.approx(0.15)
    assert cosine_decay(100, 0.3, 100) == cosine_decay(101, 0.3, 100) == 0
    assert cosine_decay(0, 0.3, 0) == 0


def test_ends_at_the_final_value() -> None:
    assert cosine_decay(0, 0.01, 1000, 1e-4) == pytest.approx(0.01)
    assert cosine_decay(500, 0.01, 1000, 1e-4) == pytest.approx((0.01 + 1e-4) / 2)
    assert cosine_decay(999, 0.01, 1000, 1e-4) == pytest.approx(1e-4, rel=1e-3)


@given(st.integers(1, 1000), st.floats(0, 1))
def test_never_rises(end: int, initial: float) -> None:
    values = [cosine_decay(step, initial, end) for step in range(end + 2)]
    assert values == sorted(values, reverse=True) and values[-1] == 0
