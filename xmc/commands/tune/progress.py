"""What is shown while a study runs: how far a trial is on its rung, and a line for each rung that it ends."""

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers.utils import logging as transformers_logging

from xmc.commands.tune.halving import RUNGS, Trial, best_two
from xmc.commands.tune.outcome import differences
from xmc.commands.tune.space import Value

logger = logging.getLogger(__name__)


class Progress:
    """metric: by which trials are scored."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._bar = tqdm(disable=None, leave=False, bar_format="{desc} {percentage:3.0f}%|{bar}|")

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._bar, logging_redirect_tqdm():
            yield

    def of_rung(self, trial: Trial, trials: Sequence[Trial], done: int, total: int, left: float) -> None:
        """On a terminal, how far a trial is. left: seconds of the budget."""
        of = f"trial {trial.number}, rung {len(trial.scores) + 1} of {len(RUNGS)}{_best(trials, ', ')}"
        self._bar.total, self._bar.n = total, done
        self._bar.set_description_str(f"{of}, {_clock(left)} left")

    def ended(
        self,
        trial: Trial,
        trials: Sequence[Trial],
        score: float,
        last: bool,
        left: float,
        recommended: dict[str, Value],
    ) -> None:
        """A trial has ended a rung, the last one or another. trial: before it did; trials: since."""
        rung = "to its end" if last else f"rung {len(trial.scores) + 1} of {len(RUNGS)}"
        again = "" if trial.repeats is None else f" (trial {trial.repeats} with seed {trial.seed})"
        settings = "" if trial.scores else f"; {differences(trial.values, recommended)}"
        logger.info(
            "trial %d%s, %s: %s %.2f%s; %s left%s",
            *(trial.number, again, rung, self._metric, 100 * score, _best(trials, "; "), _clock(left), settings),
        )


def _best(trials: Sequence[Trial], before: str) -> str:
    best = best_two(trials)
    return f"{before}best {100 * best[0].scores[-1]:.2f} (trial {best[0].number})" if best else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}"


@contextmanager
def trials_in_turn() -> Iterator[None]:
    """Inside, trials say nothing but their warnings, and leave no memory behind."""
    package, own = logging.getLogger("xmc"), logging.getLogger(__package__)
    levels, bars = (package.level, own.level), transformers_logging.is_progress_bar_enabled()
    package.setLevel(logging.WARNING)
    own.setLevel(logging.INFO)
    transformers_logging.disable_progress_bar()
    gc.freeze()  # what is imported, so that what a trial leaves is soon found
    try:
        yield
    finally:
        gc.unfreeze()
        package.setLevel(levels[0])
        own.setLevel(levels[1])
        if bars:
            transformers_logging.enable_progress_bar()
