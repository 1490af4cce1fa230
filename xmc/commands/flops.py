"""`xmc flops`: the multiply-adds and bytes of every layer, beside those of the dense twin."""

from xmc.commands.command import Command, Given
from xmc.commands.estimate import OF_A_MODEL
from xmc.config import TrainConfig
from xmc.endings import undisturbed


def run(config: TrainConfig, given: Given) -> None:
    """Print a table of the layers."""
    with undisturbed():
        from xmc import factory
        from xmc.estimate import flops
        from xmc.machine import prepare_machine
        from xmc.workflow.settings import with_recipe

    config = with_recipe(config, given)
    prepare_machine("cpu", config.trainer.threads)
    print(flops.table(flops.count(config, factory.load_corpus(config))))


COMMAND = Command(TrainConfig, run, often=OF_A_MODEL, parts=())
