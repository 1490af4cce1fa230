import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.strings import Strings

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXT), st.slices(10))
def test_strings_are_a_list_of_their_texts(texts: list[str], part: slice) -> None:
    strings = Strings(iter(texts))
    assert len(strings) == len(texts)
    assert list(strings) == texts == strings
    assert [strings[i] for i in range(len(texts))] == texts
    assert strings == Strings(texts)
    assert strings[part.start : part.stop] == texts[part.start : part.stop]
    assert strings != [*texts, "more"]


def test_strings_of_numbers() -> None:
    assert Strings.numbers(70_000) == [str(i) for i in range(70_000)]
    assert Strings.numbers(0) == []


def test_strings_beyond_the_end() -> None:
    with pytest.raises(IndexError):
        Strings(["a"])[1]
    assert Strings(["a", "b"])[-1] == "b"


def test_strings_over_several_chunks_take_less_than_a_list() -> None:
    texts = [f"label-{i}" for i in range(150_000)]
    strings = Strings(texts)
    assert strings == texts and strings[100_000] == "label-100000"
    assert strings.column.nbytes < 0.3 * sum(map(sys.getsizeof, texts))


def test_places_of_strings() -> None:
    strings = Strings(["a", "", "b\u00fc", "a"])
    assert [strings.index(value) for value in ("a", "", "b\u00fc")] == [0, 1, 2]
    assert strings.index("a", 1) == 3
    for missing in ("c", "\ud800"):
        with pytest.raises(ValueError):
            strings.index(missing)
    with pytest.raises(ValueError):
        strings.index("b\u00fc", 0, 2)
