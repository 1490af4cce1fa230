"""Where the figures of a run go: always `log.jsonl`, and Weights & Biases on request."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

from xmc.types import XMCError

Record = dict[str, Any]


class Tracker(Protocol):
    """Receives one flat record a log step or evaluation; `step` is always in it."""

    def log(self, record: Record) -> None: ...

    def close(self) -> None: ...


class LocalLog:
    """`log.jsonl`, a line a record, flushed at once. Lines beyond `resume_step` are dropped when a run goes on."""

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= resume_step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        temporary.replace(path)
        self._file = open(path, "a", buffering=1)  # noqa: SIM115

    def log(self, record: Record) -> None:
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self._file.write(json.dumps(finite) + "\n")

    def close(self) -> None:
        self._file.close()


class Wandb:
    """A Weights & Biases run, online or offline, written below the run folder; a resumed run keeps its id."""

    def __init__(
        self,
        folder: Path,
        *,
        mode: Literal["online", "offline"],
        project: str,
        name: str | None,
        config: dict[str, Any],
        run_id: str,
    ) -> None:
        try:
            import wandb
        except ImportError:
            raise XMCError("tracking=wandb needs the package wandb: pip install 'xmc[wandb]'") from None
        self._run = wandb.init(
            dir=folder, mode=mode, project=project, name=name, config=config, id=run_id, resume="allow"
        )

    def log(self, record: Record) -> None:
        self._run.log({k: v for k, v in record.items() if k != "step"}, step=record["step"])

    def close(self) -> None:
        self._run.finish()


class Trackers:
    """Several trackers as one."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = trackers

    def log(self, record: Record) -> None:
        for tracker in self._trackers:
            tracker.log(record)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


def read_log(path: Path) -> Iterator[Record]:
    """The records of a log, in order; none where there is no file."""
    yield from map(json.loads, _whole_lines(path))


def _whole_lines(path: Path) -> list[str]:
    """Lines that were written to their end; a killed run may leave half a line."""
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
