"""The best settings that a budget of time finds."""

import importlib.util
import time
from collections.abc import Collection
from pathlib import Path

from xmc import build
from xmc.commands.run_folder import held
from xmc.config import TuneConfig
from xmc.evaluate import check_metric_name
from xmc.types import XMCError


def tune(config: TuneConfig, fixed: Collection[str]) -> None:
    """Search for settings until the budget is spent, or go on with it; tell the best, and leave `<output>/best.yaml`.

    fixed: the keys that the user has given.
    """
    if importlib.util.find_spec("optuna") is None:
        raise XMCError("xmc tune needs the package optuna: pip install 'xmc[tune]'")
    from xmc.tune.session import Session

    began = time.monotonic()
    check_metric_name(config.trainer.metric, config.metrics.ks)
    build.check_tracking(config)
    with held(Path(config.output)):
        corpus = build.load_corpus(config)
        if "dev" not in corpus.splits:
            raise XMCError("xmc tune chooses by a dev split, and data.dev_fraction=0 leaves none; give a fraction")
        Session(config, fixed, corpus, began).run()
