import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.config.compose import compose
from xmc.data.label_cells import advice, cell_labels
from xmc.errors import XMCError


def labels(cell: str, separator: str = ";") -> list[str]:
    return cell_labels(cell, separator, "t:2: field 'labels'")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("a; b;;", ["a", "b"]),
        ("", []),
        ("[]", []),
        (" ['a', 'b c'] ", ["a", "b c"]),
        ('["a", "b;c"]', ["a", "b;c"]),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("{'alps', 'sea'}", ["alps", "sea"]),
        ("('alps', 'sea')", ["alps", "sea"]),
        ("('alps',)", ["alps"]),
        ("frozenset({'alps', 'sea'})", ["alps", "sea"]),
        ("set()", []),
        ("()", []),
        ("[u'a', u'b c']", ["a", "b c"]),
        ("[np.str_('a'), np.str_(\"it's\")]", ["a", "it's"]),
        ("[np.int64(1), np.int64(22)]", ["1", "22"]),
        ("{1, 22}", ["1", "22"]),
        ("(2019)", ["(2019)"]),
        ("(old) a;{b}", ["(old) a", "{b}"]),
        ("[d'Artagnan]", ["[d'Artagnan]"]),
        ("{", ["{"]),
        ("[1, 22]", ["1", "22"]),
        ("[1 007]", ["1", "007"]),
        ("[" + "9" * 5000 + "]", ["9" * 5000]),
        ("""["it's", 'say "hi"']""", ["it's", 'say "hi"']),
        (r"['it\'s', 'a\\b', 'tab\tx']", ["it's", r"a\b", "tab\tx"]),
        (r'["\ud83d\ude00", "a\/b"]', ["\U0001f600", "a/b"]),
        ("[a]; [b]", ["[a]", "[b]"]),
        ("[a, b]", ["[a, b]"]),
        ("[old] a;b", ["[old] a", "b"]),
        ("[__import__('os').system('true')]", ["[__import__('os').system('true')]"]),
        ("[" * 100_000 + "]" * 100_000, ["[" * 100_000 + "]" * 100_000]),
    ],
)
def test_labels_of_a_text(cell: str, expected: list[str]) -> None:
    assert labels(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "['a', 'b'",
        "['a', b]",
        "['a''b']",
        '["a": 1]',
        "['a', ['b']]",
        "[['a'], 'b']",
        "[('a', 'b')]",
        "[b'a', b'b']",
        "[u'a', b]",
        "{'a', 'b'",
        "{'a': 1}",
        "('a')",
        "[np.str_('a']",
        "array(['a', 'b'], dtype=object)",
        "['a', None]",
        r"['\ud800']",
        "['a', " + "[" * 100_000,
        "['a', " + "(" * 10_000 + ")" * 10_000 + "]",
    ],
)
def test_what_begins_as_a_list_and_is_none(cell: str) -> None:
    with pytest.raises(XMCError, match=r"t:2: field 'labels' is no list: .*; expected one of texts or whole numbers"):
        labels(cell)


def test_an_empty_separator() -> None:
    with pytest.raises(XMCError, match=r"t:2: field 'labels' cannot be divided at an empty label_separator"):
        labels("a", "")


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda t: t == t.strip() != "")))
def test_lists_of_python_and_json_are_read_as_written(given: list[str]) -> None:
    assert labels(repr(given)) == labels(repr(tuple(given))) == given
    assert set(labels(repr(set(given)))) == set(given)
    assert labels(json.dumps(given)) == given
    assert labels(json.dumps(given, ensure_ascii=False)) == given


@pytest.mark.parametrize(
    ("cells", "set_", "better"),
    [
        (["a, b", "b, c", "a"], ";", ","),
        (["bees|alps", "alps|fish", "fish"], ";", "|"),
        (["a; b", "b; a", "b; c", "c"], " ", ";"),
        (["machine learning,deep learning", "deep learning", "deep learning,bees"], " ", ","),
        (["t1 t2", "t2 t3", "t3 t1"], ";", " "),
        (["a;b", "b;c", "a"], ";", None),
        (["a b", "b c", "c a"], " ", None),
        (["Smith, John;Doe, Jane", "Roe, Richard;Smith, John", "Doe, Jane"], ";", None),
        (["Smith, John", "Doe, Jane", "Roe, Richard"], ";", None),
        (["machine learning", "deep learning", "deep sea"], ";", None),
        (["alps, general", "bees", "bees", "fish", "fish", "wasps", "bees"], ";", None),
        (["a, b"], ";", None),
        (["['a, b']", "['a', 'c']", "['x"], ";", None),
        ([], ";", None),
    ],
)
def test_another_separator_is_proposed_where_it_fits_far_better(
    cells: list[str], set_: str, better: str | None
) -> None:
    told = advice(cells, set_, "data.label_separator")
    if better is None:
        assert told is None
        return
    assert told is not None
    (override,) = [word for word in shlex.split(told.replace("'s ", "s ")) if word.startswith("data.label_separator")]
    assert compose(["data=csv", "data.root=x", override])["data"]["label_separator"] == better


def test_lists_without_quotes_are_told() -> None:
    for cells in (["[a, b]", "[b, c]"], ["{a,b}", "{b,c}"]):
        told = advice(cells, ";", "data.label_separator")
        assert told is not None and "brackets and all" in told
