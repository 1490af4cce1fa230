import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.errors import XMCError
from xmc.sparse_rows import SparseRow

entries = st.dictionaries(st.integers(0, 99), st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20)


@given(entries, st.randoms(use_true_random=False))
def test_a_row_is_what_was_written_in_whatever_order(row: dict[int, float], order: random.Random) -> None:
    pairs = list(row.items())
    order.shuffle(pairs)
    parsed = SparseRow.parse("  ".join(f"{column}:{value!r}" for column, value in pairs), 100, "x")
    assert dict(zip(parsed.columns, parsed.values, strict=True)) == row
    assert list(parsed.columns) == sorted(row)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1:2 3", r"f:7: expected `feature:value`, a whole number and a number, found '3'"),
        ("1:2:3", r"found '1:2:3'"),
        ("1:a", r"found '1:a'"),
        ("1.5:2", r"found '1.5:2'"),
        (":2", r"found ':2'"),
        ("9:1 10:1", r"f:7: feature 10 is out of range; there are 10 features, 0 to 9"),
        ("-1:1", r"feature -1 is out of range"),
        ("1:1 1_0:1", r"found '1_0:1'"),
        ("1:1_0", r"found '1:1_0'"),
        ("\u0661:1", "found '\u0661:1'"),
        ("1:\u0661", "found '1:\u0661'"),
        ("1:2\u00a03:4", r"found '1:2\\xa03:4'"),
        ("9" * 5000 + ":1", r"found '9999"),
        ("9" * 4000 + ":1", r"feature 9{20} is out of range"),
        ("4:1 2:1 4:2", r"f:7: feature 4 stands twice; expected each feature once"),
        ("1:1 2:nan", r"f:7: feature 2 has the value nan; expected a finite 32-bit number"),
        ("1:inf 2:-inf", r"feature 1 has the value inf"),
        ("1:1e39", r"feature 1 has the value 1e\+39"),
    ],
)
def test_what_is_no_row(text: str, told: str) -> None:
    with pytest.raises(XMCError, match=told):
        SparseRow.parse(text, 10, "f:7")
