import pytest

from xmc.spelling import did_you_mean


@pytest.mark.parametrize(
    ("given", "known", "told"),
    [
        ("trian", ["dev", "train"], "did you mean 'train'?"),
        ("TEXT ", ["Text", "label"], "did you mean 'Text'?"),
        ("text", ["texts", "title", "texte"], "did you mean 'texts' or 'texte'?"),
        ("xyz", ["train"], ""),
        ("train", [], ""),
    ],
    ids=str,
)
def test_the_nearest_names_are_told(given: str, known: list[str], told: str) -> None:
    assert did_you_mean(given, known, most=2) == told


def test_only_the_best_unless_more_are_asked_for() -> None:
    assert did_you_mean("texs", ["text", "texts"]).count("'") == 2
    assert did_you_mean("xyz", ["train"], cutoff=0.0) == "did you mean 'train'?"
