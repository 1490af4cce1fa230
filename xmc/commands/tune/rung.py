"""A trial's run, watched until its next rung ends."""

import math
import time
from collections.abc import Callable
from typing import Literal

from xmc.commands.tune.halving import RUNGS, Trial
from xmc.train.loop import Plan
from xmc.train.state import Progress

SAVED_EVERY = 300.0  # seconds, at most, that a killed trial loses
LOOKED_EVERY = 5.0  # seconds


class Rung:
    """What a run asks after every step: it pauses at the end of the trial's next rung, or of the budget.

    left: seconds of the budget. look: is shown the steps done and those of the rung, at its start and every few
    seconds. ended: whether the rung has.
    """

    def __init__(self, trial: Trial, left: Callable[[], float], look: Callable[[int, int], None]) -> None:
        self._trial, self._left, self._look = trial, left, look
        self._began = self._looked = self._saved = time.monotonic()
        self._first = self._paused = self._began
        self._part: float | None = None
        self.ended = False

    def __call__(self, progress: Progress, plan: Plan) -> Literal["go on", "save", "pause"]:
        now, done = time.monotonic(), len(self._trial.scores)
        begin = evaluated_step(plan, RUNGS[done - 1]) if done else 0
        end = plan.total_steps if self._trial.repeats is not None else evaluated_step(plan, RUNGS[done])
        if self._part is None or now - self._looked >= LOOKED_EVERY:
            self._looked = now
            self._look(progress.step, end)
        if self._part is None:
            self._first = now
            self._part = (end - progress.step) / max(1, end - begin)
        self.ended = progress.step >= end
        if self.ended or self._left() <= 0:
            self._paused = now
            return "pause"
        if now - self._saved >= SAVED_EVERY:
            self._saved = now
            return "save"
        return "go on"

    @property
    def seconds(self) -> float:
        """Of the whole rung: training at the pace of the part that was left of it, and what came before and after."""
        trained = self._paused - self._first
        return time.monotonic() - self._began - trained + trained / (self._part or 1.0)


def evaluated_step(plan: Plan, fraction: float) -> int:
    """The first step at this fraction of a run, or behind it, that an evaluation follows."""
    evaluations = math.ceil(fraction * plan.total_steps / plan.eval_every)
    return min(plan.total_steps, evaluations * plan.eval_every)
