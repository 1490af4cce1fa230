"""`xmc coordinate-check`: whether learning rates carry over from one fan-in to another."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Annotated

from pydantic import Field

from xmc.commands.command import Command, Given
from xmc.config import Section, TrainConfig, Trainer
from xmc.endings import undisturbed
from xmc.parts.parametrization import PARAMETRIZATION, ParametrizationSection
from xmc.storage import whole_file
from xmc.values import Count, OneOrMore, Seed, Text

logger = logging.getLogger(__name__)


class CoordinateCheck(Section):
    """How far a few steps move the logits at several fan-ins."""

    fan_ins: Annotated[tuple[Count, ...], Field(min_length=2)] = (16, 32, 64, 128, 256)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), OneOrMore] = (0, 1, 2, 3, 4)
    steps: Count = 10
    labels: Count = 1024
    """whose logits are looked at"""
    output: Text = "runs/coordinate-check"
    """.json and, where matplotlib is installed, .png"""


class CoordinateCheckConfig(TrainConfig):
    """How far a few steps move the logits at several fan-ins, with and without SmuPar."""

    trainer: Trainer = Trainer(batch_size=16)
    """what a large batch agrees on is little, and would hide how updates add up over connections"""
    parametrization: Annotated[ParametrizationSection, PARAMETRIZATION] = PARAMETRIZATION.default("supar")
    check: CoordinateCheck = CoordinateCheck()


def run(config: CoordinateCheckConfig, given: Given) -> None:
    """Measure how far a few steps move the logits at several fan-ins: a table, `<output>.json` and `<output>.png`."""
    with undisturbed():
        from xmc import factory
        from xmc.machine import prepare_machine
        from xmc.workflow import coordinates
        from xmc.workflow.settings import with_recipe

    config, check = with_recipe(config, given), config.check
    device = prepare_machine(config.trainer.device, config.trainer.threads)
    corpus = factory.load_corpus(config)
    measured = coordinates.coordinate_check(
        *(config, corpus, device),
        fan_ins=check.fan_ins,
        seeds=check.seeds,
        steps=check.steps,
        labels=check.labels,
    )
    points = list(measured)
    print(coordinates.table(points))
    with whole_file(f"{check.output}.json") as out:
        json.dump([dataclasses.asdict(point) for point in points], out, indent=1)
        out.write("\n")
    try:
        coordinates.plot(points, Path(f"{check.output}.png"))
    except ModuleNotFoundError as missing:
        logger.info("no plot: %s is not installed", missing.name)


COMMAND = Command(CoordinateCheckConfig, run, often=("data", "data.root", "parametrization"), parts=())
