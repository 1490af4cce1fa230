"""What a run did since its last log line: losses, rates, memory."""

import logging
import math
import resource
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from xmc.train.state import TrainState
from xmc.train.step import Step
from xmc.train.tracking import Record
from xmc.types import Batch

logger = logging.getLogger(__name__)


_FORECAST = 10  # steps after which a run tells how long it will take


class Meter:
    """Sums since the last log line, on the device. Evaluation and checkpoints do not count towards the rates.

    On a GPU a step takes the time to ask for it, and the log line that until all are done.
    """

    def __init__(self, total_steps: int) -> None:
        self._total_steps = total_steps
        self._forecast_at = _FORECAST
        self._clear()

    def _clear(self) -> None:
        self._steps = self._documents = self._tokens = self._moved = 0
        self._seconds = 0.0
        self._main: Tensor | float = 0.0
        self._auxiliary: Tensor | float = 0.0
        self._auxiliary_steps = 0
        self._health: dict[str, float] = {}
        self.restart_clock()

    def restart_clock(self) -> None:
        self._clock = time.perf_counter()

    def add(self, batch: Batch, done: Step) -> None:
        outcome = done.outcome
        self._steps += 1
        self._documents += len(batch)
        self._tokens += int(batch.attention_mask.sum())
        self._main += outcome.main.double()
        if outcome.auxiliary is not None:
            self._auxiliary += outcome.auxiliary.double()
            self._auxiliary_steps += 1
        self._moved += done.moved
        self._health |= done.health
        self._seconds += time.perf_counter() - self._clock
        self.restart_clock()
        self._forecast_at -= 1
        if self._forecast_at == 0 and self._total_steps > 2 * _FORECAST:
            self._forecast(batch.input_ids.device)

    def _forecast(self, device: torch.device) -> None:
        """Of a CPU, where steps are over when they are counted."""
        if device.type == "cpu":
            left = self._seconds / self._steps * (self._total_steps - self._steps)
            logger.info(
                "about %s for %d steps, dev apart; %.0f MiB", _told(left), self._total_steps, peak_resident_mib()
            )

    @property
    def loss(self) -> float:
        """The mean since the last log line, 0 where there was no step. A GPU is waited for."""
        return float(self._main) / max(1, self._steps)

    def record(self, state: TrainState, done: Step) -> Record:
        """One log line, after the step that was done last; starts the sums anew."""
        progress, loss = state.progress, self.loss
        own = torch.linalg.vector_norm(done.outcome.gradient_BD.float()).item()
        norms = done.layer_norms | {"features": math.sqrt(state.processes.total(own**2))}
        counts = state.processes.all_of(self._documents, self._tokens, self._moved)
        documents, tokens, moved = map(sum, zip(*counts, strict=True))
        self._seconds += time.perf_counter() - self._clock
        record: Record = {
            "step": progress.step,
            "epoch": progress.epoch,
            "loss": loss,
            "auxiliary_loss": float(self._auxiliary) / self._auxiliary_steps if self._auxiliary_steps else None,
            "gradient_norm": done.gradient_norm.item(),
            **{f"gradient/{layer}": norm for layer, norm in norms.items()},
            **{f"lr/{name}": rate for name, rate in done.rates.items()},
            "seconds_per_step": self._seconds / self._steps,
            "documents_per_second": documents / self._seconds,
            "tokens_per_second": tokens / self._seconds,
            "peak_memory_mib": _peak_memory_mib(state.model.device),
            "dropped": moved,
            "grown": moved,
            **self._health,
        }
        eta = (self._total_steps - progress.step) * self._seconds / self._steps
        logger.info(
            "step %d/%d  epoch %d  loss %.4f  %s docs/s  %.0f MiB  ETA %d:%02d",
            *(progress.step, self._total_steps, progress.epoch, record["loss"]),
            *(f"{record['documents_per_second']:,.0f}", record["peak_memory_mib"], eta // 60, eta % 60),
        )
        self._clear()
        return record


def _told(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds > 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _peak_memory_mib(device: torch.device) -> float:
    """Peak of the device's allocations, or of the process's resident memory on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_resident_mib()


def peak_resident_mib() -> float:
    """Peak of the process's resident memory."""
    status = Path("/proc/self/status")
    if status.exists():  # not ru_maxrss: it starts at the peak of the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
