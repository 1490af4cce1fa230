"""`xmc coordinate-check`: whether learning rates carry over from one fan-in to another."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Annotated

from pydantic import Field

from xmc.commands.command import Command, Given
from xmc.config import Section, TrainConfig
from xmc.endings import undisturbed
from xmc.storage import whole_file
from xmc.values import Count, OneOrMore, Seed, Text

logger = logging.getLogger(__name__)


class CoordinateCheck(Section):
    fan_ins: Annotated[tuple[Count, ...], Field(min_length=2)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), OneOrMore]
    steps: Count
    labels: Count
    output: Text


class CoordinateCheckConfig(TrainConfig):
    check: CoordinateCheck


def run(config: CoordinateCheckConfig, given: Given) -> None:
    """Measure how far a few steps move the logits at several fan-ins: a table, `<output>.json` and `<output>.png`."""
    with undisturbed():
        from xmc import build
        from xmc.workflow import coordinates
        from xmc.workflow.settings import with_recipe

    config, check = with_recipe(config, given), config.check
    device = build.prepare_machine(config.trainer.device, config.trainer.threads)
    corpus = build.load_corpus(config)
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


COMMAND = Command(CoordinateCheckConfig, run)
