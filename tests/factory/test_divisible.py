"""What several processes cannot train is refused with its reason and the way out."""

import pytest
from test_config import composed

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.errors import XMCError


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["classifier=dense"],
        ["sparsity=rigl", "classifier/optimizer=sgd", "classifier.weight_dtype=bfloat16"],
        ["classifier.head=0.1", "auxiliary=clusters"],
        ["sparsity=static", "trainer.logit_adjustment=0.3", "lexical=none"],
    ],
    ids=" ".join,
)
def test_these_are_shared(overrides: list[str]) -> None:
    factory.check_divisible(parse(TrainConfig, composed(*overrides)))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["classifier.group_size=2"], "classifier.group_size puts all labels in an order of its own; set it to 1"),
        (
            ["intermediate=linear", "intermediate.width=64", "sparse_ift=wide"],
            "sparse_ift=wide rewires layers that all processes have; take none",
        ),
    ],
)
def test_these_are_not(overrides: list[str], told: str) -> None:
    with pytest.raises(XMCError) as error:
        factory.check_divisible(parse(TrainConfig, composed(*overrides)))
    assert told in str(error.value) and "several processes cannot train this run" in str(error.value)
