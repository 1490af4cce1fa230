"""The log of a run: what it did since the last line, and where lines go: to `log.jsonl`, and where else it is asked."""

import json
import logging
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from xmc.errors import XMCError
from xmc.storage import parse_json, whole_file
from xmc.train.state import TrainState
from xmc.train.step import Step
from xmc.types import Batch

logger = logging.getLogger(__name__)

_FORECAST = 10  # steps after which a run tells how long it will take

Record = dict[str, Any]


class Tracker(Protocol):
    """Receives one flat record a log step or evaluation; `step` is always in it."""

    def log(self, record: Record) -> None: ...

    def close(self) -> None: ...


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


class LocalLog:
    """`log.jsonl`, a line a record, flushed at once. Lines beyond `resume_step` are dropped when a run goes on."""

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        kept = [record for record in read_log(path) if record["step"] <= resume_step]
        with whole_file(path) as out:
            out.writelines(json.dumps(record) + "\n" for record in kept)
        self._file = open(path, "a", buffering=1)  # noqa: SIM115

    def log(self, record: Record) -> None:
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self._file.write(json.dumps(finite) + "\n")

    def close(self) -> None:
        self._file.close()


class Trackers:
    """Several trackers as one. constants: what stands in every record."""

    def __init__(self, *trackers: Tracker, constants: Record | None = None) -> None:
        self._trackers = trackers
        self._constants = constants or {}

    def log(self, record: Record) -> None:
        for tracker in self._trackers:
            tracker.log(record | self._constants)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


def read_log(path: Path) -> list[Record]:
    """The records of a log, in order; none where there is no file. Other lines are passed over, which is told."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    records, broken = [], []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):  # a killed run may leave half a line
            continue
        try:
            records.append(_record(line, f"{path}:{number}"))
        except XMCError as error:
            broken.append(error)
    if broken:
        logger.warning("%s: passed over %d of %d lines; the first: %s", path, len(broken), len(lines), broken[0])
    return records


def _record(line: bytes, where: str) -> Record:
    """Raises XMCError for anything but numbers by name, the step among them; a number that was not finite is null."""
    record = parse_json(line, where)
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        raise XMCError(f"{where}: no record of a step")
    for name, value in record.items():
        if value is not None and not (isinstance(value, int | float) and abs(value) <= sys.float_info.max):
            raise XMCError(f"{where}: {name} is {value!r:.40}; expected a number")
    return record
