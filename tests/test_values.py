import pytest

from xmc.values import whole_number


def test_whole_numbers() -> None:
    assert [whole_number(text) for text in ("0", "007", "-12")] == [0, 7, -12]
    for text in ("", "1_0", "+1", " 1", "1 ", "1\n", "\u0661", "1.0", "1e3", "9" * 19):
        with pytest.raises(ValueError, match="no whole number"):
            whole_number(text)
