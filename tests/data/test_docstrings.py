import functools

import pytest

from xmc.data.docstrings import parameters, without_parameters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f(a, b=(1, 2)) -> int\n\nAdd things.", "int\n\nAdd things."),
        ("f(a,\n  b)\n\nAdd things.", "Add things."),
        ("S.f(a[, b]) -> int\n\nAdd things.", "int\n\nAdd things."),
        ("g(a) -> x.  Same as f(a, b), reversed.", "x.  Same as f(), reversed."),
        (
            "Add.\n\nParameters\n----------\na : int\n    Left.\nb : int\n\nReturns\n-------\nint",
            "Add.\n\nReturns\n-------\nint",
        ),
        (
            "Add.\n\nArgs:\n    a: Left\n        side.\n\n    b: Right.\n\nReturns:\n    A sum.",
            "Add.\n\nReturns:\n    A sum.",
        ),
        ("Add.\n\nKeyword arguments are:\n\na -- left\nb -- right\n\nThe end.", "Add.\n\nThe end."),
        ("Add.\n\n:param a: left\n    side\n:type a: int\n:returns: a sum", "Add.\n\n:returns: a sum"),
        ("Add.\n\n* *a*: left\n* `b` - right\n* others: wrong", "Add.\n\n* others: wrong"),
        ("Add.\n\na    left\n     side\nb    right", "Add."),
        ("Add *a* to b, if a is given.", "Add *a* to b, if a is given."),
    ],
)
def test_what_lists_parameters_is_cut(text: str, expected: str) -> None:
    assert without_parameters(text, "f", ["a", "b"]) == expected


def test_an_unbalanced_call_is_left_alone() -> None:
    text = "Add f(a, " + "b " * 5000
    assert without_parameters(text, "f", ["a"]) == text.strip()


def test_parameters_come_from_the_signature() -> None:
    def function(self: object, left: int, /, *rest: int, flag: bool = False, _hidden: int = 0, **more: int) -> None: ...

    assert parameters(function, "function", "") == ["left", "rest", "flag", "more"]


def test_parameters_of_a_built_in_without_signature_come_from_its_first_line() -> None:
    assert parameters(dict.update, "update", "D.update([E, ]**F) -> None.  Update D from E.") == ["E", "F"]
    assert parameters(dict.update, "update", "f(time=now, zone=None)") == []
    assert parameters(dict.update, "update", "update(time=now, zone=None)") == ["time", "zone"]
    assert parameters(dict.update, "update", "Update D from E.") == []


def test_a_signature_that_raises_is_no_signature() -> None:
    class Odd:
        @functools.cached_property
        def __signature__(self) -> None:
            raise RuntimeError

        def __call__(self) -> None: ...

    assert parameters(Odd(), "odd", "") == []
