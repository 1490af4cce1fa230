"""`xmc estimate`: the memory that a run would take, part by part."""

from typing import Annotated

from pydantic import Field

from xmc.commands.command import Command, Given
from xmc.config import TrainConfig
from xmc.endings import undisturbed
from xmc.values import Count


class EstimateConfig(TrainConfig):
    """The memory that a run would take, part by part, before it is started."""

    device_memory: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?[MG]i?B$")] | None = None
    """such as 8GiB; null: that of the device at hand. With trainer.device=cuda no GPU need be there"""
    devices: Count = 1
    """processes that train the run together, each on a device of its own (docs/distributed.md)"""
    labels_a_document: Count = 5
    """on average, where a benchmark set is estimated without being read"""


def run(config: EstimateConfig, given: Given) -> None:
    """Print what a run would take, whether the device has it and, if not, what would make it fit."""
    with undisturbed():
        from xmc import estimate
        from xmc.workflow.settings import with_recipe

    config = with_recipe(config, given)
    memory = estimate.memory_of(config.trainer.device, config.device_memory)
    counts = estimate.count(config, config.labels_a_document)
    own = estimate.estimate(config, counts, config.devices)
    print(estimate.table(own))
    ways = estimate.remedies(config, counts, memory, config.devices) if own.needed > memory else ([], None)
    print(estimate.verdict(own, memory, *ways))


OF_A_MODEL = ("data", "data.root", "encoder", "classifier", "classifier.fan_in")
"""The keys of a run that decide most how large its model is."""
COMMAND = Command(EstimateConfig, run, often=OF_A_MODEL, parts=())
