"""The training loop."""

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Literal, Protocol, Self

import torch

from xmc.errors import STOP_SIGNALS
from xmc.sparsity.drop_and_grow import cosine_decay
from xmc.train.checkpoint import Checkpoints
from xmc.train.log import Meter, Tracker
from xmc.train.state import Progress, TrainState
from xmc.train.step import check_loss, train_step
from xmc.types import Batch

logger = logging.getLogger(__name__)

ScheduleKind = Literal["cosine", "linear", "constant"]
Validate = Callable[[], tuple[float, dict[str, float]]]  # the metric to choose the best model by; every figure to log


class Batches(Protocol):
    """Batches of the train split, a pure function of the epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterable[Batch]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """When things happen, in steps."""

    total_steps: int
    warmup_steps: int
    schedule: ScheduleKind
    auxiliary_weight: float
    auxiliary_steps: int
    micro_batch_size: int | None
    clip_norm: float | None
    log_every: int
    eval_every: int
    checkpoint_every: int
    patience: int | None


class Attend(Protocol):
    """Looks at a run before its first step and after each: it goes on, writes a checkpoint, or pauses with one."""

    def __call__(self, progress: Progress, plan: Plan, /) -> Literal["go on", "save", "pause"]: ...

    @property
    def ended(self) -> bool:
        """Whether a run that paused is to be measured as it stands."""


class Interrupted(Exception):
    """The run was asked to stop; its last checkpoint is on disk. signal: the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def train(
    state: TrainState,
    batches: Batches,
    plan: Plan,
    *,
    validate: Validate | None,
    checkpoints: Checkpoints,
    tracker: Tracker,
    attend: Attend | None = None,
) -> None:
    """Train from where `state` stands to the end of the plan, or to where `attend` lets it pause.

    A run that paused goes on from its checkpoint as if it had not: schedules are those of the whole plan.

    validate: measures dev data; None where there is none, and then no model is the best.

    Raises:
        Interrupted: a signal to stop came; a checkpoint was written first.
        Diverged: the loss is no longer finite; the checkpoints before are kept.
    """
    meter, progress = Meter(plan.total_steps), state.progress
    state.model.train()
    paused = attend is not None and attend(progress, plan) == "pause"
    with _StopSignal(of_a_job=state.processes.size > 1) as stop:
        while not (progress.finished or paused):
            for batch in _ready(batches.epoch(progress.epoch, progress.batch), state.model.device):
                logs = (progress.step + 1) % plan.log_every == 0 or progress.step + 1 == plan.total_steps
                done = train_step(
                    *(state, batch),
                    rate=learning_rate_multiplier(progress.step, plan.total_steps, plan.warmup_steps, plan.schedule),
                    auxiliary_weight=cosine_decay(progress.step, plan.auxiliary_weight, plan.auxiliary_steps),
                    micro_batch_size=plan.micro_batch_size,
                    clip_norm=plan.clip_norm,
                    by_layer=logs,
                )
                progress.batch += 1
                meter.add(batch, done)
                if logs:
                    check_loss(meter.loss, progress.step)
                    tracker.log(meter.record(state, done))
                wish = "go on" if attend is None else attend(progress, plan)
                paused = wish == "pause"
                _end_of_step(state, plan, meter, validate, checkpoints, tracker, stop, saves=wish != "go on")
                if progress.finished or paused:
                    break
            else:
                progress.epoch, progress.batch = progress.epoch + 1, 0


def learning_rate_multiplier(step: int, total_steps: int, warmup_steps: int, kind: ScheduleKind) -> float:
    """Factor on the peak learning rate at a step counted from 0: linear warm-up, then decay to 0 at `total_steps`."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    match kind:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
        case "constant":
            return 1.0


def _ready(batches: Iterable[Batch], device: torch.device) -> Iterable[Batch]:
    """The batches; of those for a GPU the next one is made, in pinned memory, while the last is computed."""
    if device.type != "cuda":
        yield from batches
        return
    coming = iter(batches)

    def following() -> Batch | None:
        batch = next(coming, None)
        return None if batch is None else batch.pinned()

    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(following)
        while (batch := ahead.result()) is not None:
            ahead = thread.submit(following)
            yield batch


def _end_of_step(
    state: TrainState,
    plan: Plan,
    meter: Meter,
    validate: Validate | None,
    checkpoints: Checkpoints,
    tracker: Tracker,
    stop: "_StopSignal",
    *,
    saves: bool,
) -> None:
    progress = state.progress
    progress.finished = progress.step >= plan.total_steps
    validates = validate is not None and (progress.finished or progress.step % plan.eval_every == 0)
    saves = saves or progress.finished or progress.step % plan.checkpoint_every == 0
    if validate is not None and validates:
        check_loss(meter.loss, progress.step)  # what diverged is neither the best nor kept
        _validate(state, plan, validate, checkpoints, tracker)
        meter.restart_clock()
    (stopped_by,) = max(state.processes.all_of(stop.signal_number or 0))  # all stop, after the same step
    if saves or progress.finished or stopped_by:
        check_loss(meter.loss, progress.step)
        checkpoints.save(progress.step, state.tensors(), state.scalars(), best_step=progress.best_step)
        meter.restart_clock()
    if stopped_by and not progress.finished:
        raise Interrupted(stopped_by)


def _validate(
    state: TrainState,
    plan: Plan,
    validate: Validate,
    checkpoints: Checkpoints,
    tracker: Tracker,
) -> None:
    """Measure the model on dev, keep it if it is the best so far, and count towards early stopping."""
    progress = state.progress
    metric, figures = validate()
    state.model.train()
    better = progress.best_metric is None or metric > progress.best_metric
    if better:
        progress.best_step, progress.best_metric, progress.stale = progress.step, metric, 0
        checkpoints.save_best(progress.step, {"model": state.rounded_model()}, {"dev": figures})
    else:
        progress.stale += 1
    tracker.log({"step": progress.step, **{f"dev/{name}": value for name, value in figures.items()}})
    shown = "  ".join(f"{name} {100 * value:.2f}" for name, value in figures.items())
    logger.info("dev  step %d  epoch %d  %s%s", progress.step, progress.epoch, shown, "  (best)" if better else "")
    if plan.patience is not None and progress.stale >= plan.patience:
        logger.info("stopping early: no gain in %d evaluations", progress.stale)
        progress.finished = True


class _StopSignal:
    """While active, the first signal to stop is remembered for the end of the step; the second acts as it did before.

    Signals that the process ignores stay ignored, and a thread other than the main one gets none. of_a_job: the second
    is none but the first: torchrun passes on what its processes may have got already.
    """

    def __init__(self, *, of_a_job: bool) -> None:
        self.signal_number: int | None = None
        self._of_a_job = of_a_job

    def __enter__(self) -> Self:
        heard = [n for n in STOP_SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
        if threading.current_thread() is not threading.main_thread():
            heard = []
        self._previous = {number: signal.signal(number, self._remember) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            return
        self.signal_number = number
        if not self._of_a_job:
            self._restore()
        logger.info("%s: writing a checkpoint at the end of this step", signal.Signals(number).name)
