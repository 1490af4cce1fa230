"""`xmc tune`: the best settings that a budget of time finds."""

import importlib.util
import re
import time
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, model_validator

from xmc.commands.command import Command, Given
from xmc.commands.estimate import EstimateConfig
from xmc.endings import Stopped, undisturbed
from xmc.errors import XMCError
from xmc.values import Count, Text

_BUDGET = {"s": 1, "min": 60, "h": 3600}  # seconds


def _budget(value: object) -> object:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h)", str(value))
    if found is None or not 0 < float(found[1]) * _BUDGET[found[2]] <= 1e9:
        raise ValueError(f"budget: got {value!r}; give wall time such as 90s, 30min or 2h")
    return value


class TuneConfig(EstimateConfig):
    """budget: of wall time, such as 30min. output: folder of the study. trials: at most; null: what there is time for.

    run: where the command that is printed at the end trains.
    """

    budget: Annotated[str, BeforeValidator(_budget)]
    output: Text
    trials: Count | None

    @property
    def seconds(self) -> float:
        """Of the budget."""
        number, unit = re.fullmatch(r"([0-9.]+) ?(s|min|h)", self.budget).groups()  # type: ignore[union-attr]
        return float(number) * _BUDGET[unit]

    @model_validator(mode="after")
    def _goes_on_by_itself(self) -> "TuneConfig":
        if self.resume:
            raise ValueError("resume: the same command again, without it, goes on where a study was interrupted")
        return self


def run(config: TuneConfig, given: Given) -> None:
    """Search for settings until the budget is spent, or go on with it; tell the best, and leave `<output>/best.yaml`.

    Keys that are given are not searched.
    """
    with undisturbed():
        from xmc import build
        from xmc.evaluate import check_metric_name
        from xmc.train.loop import Interrupted
        from xmc.workflow.run_folder import held
        from xmc.workflow.settings import with_recipe

    config = with_recipe(config, given)
    if importlib.util.find_spec("optuna") is None:
        raise XMCError("xmc tune needs the package optuna: pip install 'xmc[tune]'")
    with undisturbed():
        from xmc.commands.tune.session import Session

    began = time.monotonic()
    check_metric_name(config.trainer.metric, config.metrics.ks)
    build.check_tracking(config)
    with held(Path(config.output)):
        corpus = build.load_corpus(config)
        if "dev" not in corpus.splits:
            raise XMCError("xmc tune chooses by a dev split, and data.dev_fraction=0 leaves none; give a fraction")
        try:
            Session(config, given, corpus, began).run()
        except Interrupted as stop:
            raise Stopped(stop.signal_number) from None


COMMAND = Command(TuneConfig, run)
