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
    """The best settings that a budget of time finds on dev, the recommended ones first.

    Every key of xmc train can be given: keys that are, are fixed, and the others of those that matter
    (xmc/commands/tune/space.py) are searched. run: where the command that is printed at the end trains.
    """

    budget: Annotated[str, BeforeValidator(_budget)] = "30min"
    """of wall time, all sessions together: 90s, 30min, 2h; the same command with more goes on"""
    output: Text = "runs/${oc.select:data.benchmark.name,${data.kind}}-tuned"
    """folder of the study and its trials"""
    trials: Count | None = None
    """at most; null: as many as there is time for"""

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
        from xmc import factory
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
    config.tracking.check()
    with held(Path(config.output)):
        corpus = factory.load_corpus(config)
        if "dev" not in corpus.splits:
            raise XMCError("xmc tune chooses by a dev split, and data.dev_fraction=0 leaves none; give a fraction")
        try:
            Session(config, given, corpus, began).run()
        except Interrupted as stop:
            raise Stopped(stop.signal_number) from None


COMMAND = Command(TuneConfig, run, often=("data", "data.root", "budget", "trials", "output"), parts=())
