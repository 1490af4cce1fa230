from typing import Any

import pytest
from test_config import composed

from xmc.config import TrainConfig, parse
from xmc.parts.classifier.fixed_fan_in import FixedFanInClassifier
from xmc.recipe import Facts, is_given, recommended
from xmc.workflow import settings


def values(
    documents: int = 40_000, labels: int = 1000, width: int | None = None, features: int | None = None
) -> dict[str, Any]:
    return {choice.key: choice.value for choice in recommended(Facts(documents, labels), width, features)}


def test_few_documents_are_seen_more_often() -> None:
    assert [values(documents)["trainer.epochs"] for documents in (1, 5_000, 24_000, 10**7)] == [20, 10, 2, 1]


def test_many_labels_need_more_epochs_as_long_as_they_are_cheap() -> None:
    assert [values(45_000, labels)["trainer.epochs"] for labels in (100, 4_271, 27_000, 10**6)] == [2, 4, 2, 1]


def test_few_documents_of_many_labels_are_not_seen_more_than_six_times_for_them() -> None:
    assert values(20_000, 3_430)["trainer.epochs"] == 6 and values(5_435, 3_430)["trainer.epochs"] == 9


def test_a_label_sees_one_feature_in_eight_of_a_width_that_is_set() -> None:
    assert values()["classifier.fan_in"] == values()["encoder.width"] // 8
    assert values(width=96)["classifier.fan_in"] == 12 and "encoder.width" not in values(width=96)
    assert values(width=4)["classifier.fan_in"] == 1


def test_a_label_sees_one_in_eight_of_what_an_intermediate_layer_makes() -> None:
    assert values(features=1024)["classifier.fan_in"] == 128 and values()["encoder.width"] == 512


def test_few_rare_labels_are_one_node_of_the_tree() -> None:
    assert values(5_416, 3_430)["lexical.leaf_size"] == 3_430
    for documents, labels in ((23_785, 597), (41_333, 26_983), (60, 90)):
        assert "lexical.leaf_size" not in values(documents, labels)


def test_words_that_stand_once_are_read_where_labels_are_rare() -> None:
    assert "lexical.words" not in values(41_333, 26_983) and "lexical.words" not in values(411_673, 78_636)
    assert values(45_000, 4_271)["lexical.words"] == values(23_785, 597)["lexical.words"] == 0


def test_where_a_pass_is_long_labels_see_less() -> None:
    assert values(117_350, 58_825)["classifier.fan_in"] == 16 and values(45_000, 4_271)["classifier.fan_in"] == 64


def test_millions_of_labels_take_less_memory_each() -> None:
    many = values(labels=2_812_281)
    assert many["classifier.weight_dtype"] == "bfloat16" and many["classifier.fan_in"] < values()["classifier.fan_in"]
    assert "classifier.weight_dtype" not in values()


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("encoder.width", ["encoder.width"], True),
        ("encoder.width", ["encoder"], False),
        ("classifier.optimizer", ["classifier.optimizer.lr"], True),
        ("classifier.optimizer", ["classifier.optimizer"], True),
        ("trainer.epochs", ["trainer.max_steps"], False),
    ],
)
def test_what_the_user_sets_wins(key: str, given: list[str], expected: bool) -> None:
    assert is_given(key, given) is expected


def test_what_an_intermediate_layer_makes_is_chosen_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under AdamW, the default without a recipe, an intermediate layer fades to nothing where labels are many."""
    monkeypatch.setattr(settings, "_facts", lambda config: Facts(40_000, 1000))
    keys = ["intermediate", "intermediate.width"]
    config = parse(TrainConfig, composed("intermediate=linear", "intermediate.width=1024", "lexical=none"))
    chosen = settings.with_recipe(config, keys)
    assert isinstance(chosen.classifier, FixedFanInClassifier) and chosen.classifier.fan_in == 128
    assert chosen.classifier.optimizer.kind == "sgd" and chosen.recipe == "none"
