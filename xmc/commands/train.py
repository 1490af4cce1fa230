"""`xmc train`: a run, from raw text to a saved model."""

import logging
from pathlib import Path

from xmc.commands.command import Command, Given
from xmc.config import FinetuneConfig, TrainConfig, to_yaml, with_old_data
from xmc.endings import Stopped, undisturbed
from xmc.job import place

logger = logging.getLogger(__name__)


def run(config: TrainConfig, given: Given) -> None:
    """Train to `<run>/model`, from raw text or from a trained model, or go on where the run was interrupted."""
    if isinstance(config, FinetuneConfig) and not config.resume:
        config = with_old_data(config)
    with undisturbed():
        from xmc import factory
        from xmc.distributed import joined
        from xmc.train.loop import Interrupted
        from xmc.workflow.run_folder import check_run_folder
        from xmc.workflow.settings import with_recipe
        from xmc.workflow.telling import tell_next
        from xmc.workflow.training import train_run

    with joined(place()) as processes:
        if processes.size > 1:
            factory.check_divisible(config)  # before anything is read
        if not config.resume:
            if processes.is_first:
                check_run_folder(Path(config.run), "go on with it by resume=true", quietly=True)  # before all else
            config = with_recipe(config, given)
            if config.caution is not None:
                logger.warning("caution: %s", config.caution)
        try:
            train_run(config, to_yaml(config), processes=processes)
        except Interrupted as stop:
            raise Stopped(stop.signal_number) from None
        if processes.is_first:
            tell_next(config)


OFTEN = (
    *("data", "data.root", "data.text_fields", "data.label_field", "run", "resume", "encoder", "trainer.epochs"),
    *("trainer.device", "trainer.threads", "seed"),
)
"""The keys of a run that are used most."""
COMMAND = Command(TrainConfig, run, begins_run=True, several=True, often=OFTEN)
