"""Settings of a run that follow from its data."""

import functools
import logging
import operator
from collections.abc import Collection
from typing import TypeVar

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.recipe import Facts, is_given, recommended

C = TypeVar("C", bound=TrainConfig)

logger = logging.getLogger(__name__)


def with_recipe(config: C, given: Collection[str]) -> C:
    """The configuration with the settings that follow from the data, but for the keys that are given.

    Each is told with its reason. An experiment is a recipe of its own; other encoders, classifiers and losses than the
    recipe was chosen for keep what they have. What comes back needs no recipe: it says all.
    """
    keys = [key.replace("/", ".") for key in given]
    if not (
        config.recipe == "auto"
        and "experiment" not in keys
        and config.encoder.suits_recipe
        and config.classifier.suits_recipe
        and config.loss == "bce"
        and not config.sparsity.learns_beyond_output
    ):
        return config.model_copy(update={"recipe": "none"})
    values = config.model_dump(by_alias=True) | {"recipe": "none"}
    width = values["encoder"]["width"] if is_given("encoder.width", keys) else None
    recipe = recommended(_facts(config), width, config.intermediate.features)
    chosen = [choice for choice in recipe if not is_given(choice.key, keys)]
    for choice in chosen:
        *above, last = choice.key.split(".")
        section = functools.reduce(operator.getitem, above, values)
        if last not in section:  # of another choice of its group
            continue
        section[last] = choice.value
        shown = choice.value["kind"] if isinstance(choice.value, dict) else choice.value
        logger.info("recipe: %s=%s (%s)", choice.key, shown, choice.reason)
    return parse(type(config), values)


def _facts(config: TrainConfig) -> Facts:
    """As a benchmark set is published, or counted."""
    if (benchmark := config.data.published) is not None:
        return Facts(benchmark.train, benchmark.labels)
    corpus = factory.load_corpus(config)
    return Facts(len(corpus.split("train")), len(corpus.label_ids))
