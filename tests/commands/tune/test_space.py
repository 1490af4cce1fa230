"""What is searched: around the recommended settings, and nothing that the user has given."""

import pytest

from xmc.commands.tune.space import KIND, RATE, Space, space_around
from xmc.config import TrainConfig, parse
from xmc.config.compose import compose
from xmc.errors import XMCError
from xmc.part import Choice, Range
from xmc.parts.optimizer import SGD, AdamW


def config(*overrides: str) -> TrainConfig:
    return parse(TrainConfig, compose(list(overrides)))


def space(*overrides: str) -> Space:
    return space_around(config(*overrides), [override.partition("=")[0] for override in overrides])


def names(*overrides: str) -> set[str]:
    return {dimension.name for dimension in space(*overrides).dimensions}


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=pydoc"],
        ["encoder.width=1000", "encoder.dropout=0.35"],
        ["classifier=dense"],
        ["data=bow", "data.root=there", "encoder=sparse_features"],
        ["encoder=transformer", "encoder.name=there", "encoder.lexical.width=64"],
        ["classifier/optimizer=sgd", "classifier.optimizer.lr=9.0"],
        ["encoder.bigrams=0", "trainer.batch_size=1"],
    ],
    ids=" ".join,
)
def test_the_recommended_value_is_among_the_values(overrides: list[str]) -> None:
    around = space_around(config(*overrides), [])
    assert around.config(around.recommended) == around.base
    for dimension in around.of(around.recommended):
        value, values = around.recommended[dimension.key], dimension.values
        if isinstance(values, Choice):
            assert value in values.options and len(set(values.options)) == len(values.options)
        else:
            assert values.low < value < values.high


def test_what_is_given_is_not_searched() -> None:
    everything = names()
    assert everything - names("encoder.dropout=0.1", "trainer.epochs=3") == {"encoder.dropout", "trainer.epochs"}
    assert names("encoder=bag", "seed=3", "data.dev_fraction=0.2") == everything


@pytest.mark.parametrize("given", ["classifier/optimizer=adamw", "classifier.optimizer.weight_decay=0.1"])
def test_an_optimizer_that_is_given_stays(given: str) -> None:
    assert {n for n in names(given) if "optimizer" in n} == {f"{RATE} (adamw)"}
    assert not {n for n in names("classifier.optimizer.lr=0.01") if "optimizer" in n}


def test_what_a_run_does_not_have_is_not_searched() -> None:
    assert "trainer.epochs" not in names("trainer.max_steps=5")
    bow = names("data=bow", "data.root=there", "encoder=sparse_features")
    assert {"encoder.bigrams", "trainer.label_texts"}.isdisjoint(bow) and "encoder.width" in bow
    transformer = names("encoder=transformer", "encoder.name=there")
    assert "encoder.lr" in transformer and {"encoder.width", "encoder.lexical.term_dropout"}.isdisjoint(transformer)
    assert "classifier.fan_in" not in names("classifier=dense")


def test_another_optimizer_begins_without_the_settings_of_the_first() -> None:
    around = space("classifier.optimizer.weight_decay=0.1")
    free = space_around(around.base, [])
    optimizer = free.config({KIND: "sgd", RATE: 0.5}).classifier.optimizer
    assert optimizer == SGD(kind="sgd", lr=0.5, weight_decay=0.0, momentum=0.0)
    optimizer = free.config({KIND: "adamw", RATE: 0.01}).classifier.optimizer
    assert optimizer == AdamW(kind="adamw", lr=0.01, weight_decay=0.1)


def test_rates_of_two_optimizers_are_two_things() -> None:
    around = space()
    assert [d.name for d in around.of({KIND: "sgd", RATE: 0.5})] == [KIND, f"{RATE} (sgd)"]
    (rate,) = (d.values for d in around.dimensions if d.name == f"{RATE} (adamw)")
    assert rate == Range(around.base.classifier.optimizer.lr / 4, around.base.classifier.optimizer.lr * 4)


def test_values_that_do_not_go_together_are_told() -> None:
    around = space("trainer.micro_batch_size=64")
    with pytest.raises(XMCError, match="micro_batch_size=64 is larger"):
        around.config({"trainer.batch_size": 32})
