"""What can be done before a run: fetch its data, and learn what it would cost."""

import dataclasses
import functools
import json
import logging
import operator
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from xmc import build, coordinate_check, estimate, flops
from xmc.config import (
    BagEncoder,
    BenchmarkData,
    CoordinateCheckConfig,
    EstimateConfig,
    FixedFanInClassifier,
    IdentityIntermediate,
    TopKastSparsity,
    TrainConfig,
    parse,
)
from xmc.recipe import Facts, is_given, recommended
from xmc.storage import whole_file

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
        and isinstance(config.encoder, BagEncoder)
        and isinstance(config.classifier, FixedFanInClassifier)
        and config.loss == "bce"
        and not isinstance(config.sparsity, TopKastSparsity)
        and isinstance(config.intermediate, IdentityIntermediate)
    ):
        return config.model_copy(update={"recipe": "none"})
    width = config.encoder.width if is_given("encoder.width", keys) else None
    chosen = [choice for choice in recommended(_facts(config), width) if not is_given(choice.key, keys)]
    values = config.model_dump(by_alias=True) | {"recipe": "none"}
    for choice in chosen:
        *above, last = choice.key.split(".")
        section = functools.reduce(operator.getitem, above, values)
        section[last] = choice.value
        shown = choice.value["kind"] if isinstance(choice.value, dict) else choice.value
        logger.info("recipe: %s=%s (%s)", choice.key, shown, choice.reason)
    return parse(type(config), values)


def _facts(config: TrainConfig) -> Facts:
    """As a benchmark set is published, or counted."""
    if isinstance(config.data, BenchmarkData) and (benchmark := config.data.benchmark) is not None:
        return Facts(benchmark.train, benchmark.labels)
    corpus = build.load_corpus(config)
    return Facts(len(corpus.split("train")), len(corpus.label_ids))


def prepare_set(config: TrainConfig) -> None:
    """Download and unpack a benchmark set where its files lack, read it into the cache and print what it counts."""
    build.prepare_data(config.data)
    corpus = build.read_corpus(config.data)
    for name, split in corpus.splits.items():
        print(f"{name:<8}{len(split):>12,} documents {split.labels.nnz / len(split):>8.2f} labels each")
    print(f"{'labels':<8}{len(corpus.label_ids):>12,}")
    if isinstance(config.data, BenchmarkData) and (benchmark := config.data.benchmark) is not None:
        print(f"{benchmark.name} as published; licence: {benchmark.licence}")


def estimate_memory(config: EstimateConfig) -> None:
    """Print what a run would take, whether the device has it and, if not, what would make it fit."""
    memory, counts = estimate.memory_of(config), estimate.count(config)
    own = estimate.estimate(config, counts)
    print(estimate.table(own))
    ways = estimate.remedies(config, counts, memory) if own.needed > memory else ([], None)
    print(estimate.verdict(own, memory, *ways))


def count_flops(config: TrainConfig) -> None:
    """Print the multiply-adds and bytes of every layer, and those of the dense twin."""
    build.prepare_machine("cpu", config.trainer.threads)
    print(flops.table(flops.count(config, build.load_corpus(config))))


def check_coordinates(config: CoordinateCheckConfig) -> None:
    """Measure how far a few steps move the logits at several fan-ins: a table, `<output>.json` and `<output>.png`."""
    device = build.prepare_machine(config.trainer.device, config.trainer.threads)
    points = list(coordinate_check.coordinate_check(config, build.load_corpus(config), device))
    print(coordinate_check.table(points))
    output = Path(config.check.output)
    with whole_file(f"{output}.json") as out:
        json.dump([dataclasses.asdict(point) for point in points], out, indent=1)
        out.write("\n")
    try:
        coordinate_check.plot(points, Path(f"{output}.png"))
    except ModuleNotFoundError as missing:
        logger.info("no plot: %s is not installed", missing.name)
