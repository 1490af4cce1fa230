"""Reasons of a blend: those of its models, each as far as it counts."""

import pytest
from test_blend import LABELS, NAMES, nearest
from test_explain import TEXT, check, with_bigrams

from xmc.errors import XMCError
from xmc.model import Blend, Member, ScoreFiles


def test_two_equal_models_have_the_reasons_of_one() -> None:
    model = with_bigrams(lexical=True)
    blend = Blend([Member("a", 0.7, model), Member("b", 0.3, model)], LABELS, NAMES)
    alone = check(model, TEXT)
    for label, reason in check(blend, TEXT).items():
        assert reason.score == pytest.approx(alone[label].score, abs=1e-2)
        assert [t.weight for t in reason.terms] == pytest.approx([t.weight for t in alone[label].terms], abs=1e-2)


def test_what_neighbours_say_is_part_of_the_base() -> None:
    model = with_bigrams(lexical=True)
    neighbours = nearest(model, 8)
    check(Blend([Member("a", 0.5, model), Member("n", 0.5, neighbours)], LABELS, NAMES), TEXT)
    for reason in check(Blend([Member("n", 1.0, neighbours)], LABELS, NAMES), TEXT).values():
        assert reason.terms == [] and reason.base == reason.score


def test_scores_of_other_tools_have_no_reasons() -> None:
    blend = Blend([Member("a", 0.5, with_bigrams(lexical=True)), Member("s", 0.5, ScoreFiles({}))], LABELS, NAMES)
    with pytest.raises(XMCError, match="which knows no new text"):
        blend.explain(TEXT, ["l1"])
