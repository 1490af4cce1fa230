"""Where the figures of a run go: always `log.jsonl`, and Weights & Biases on request."""

import importlib.util
import json
import logging
import math
import os
import sys
from pathlib import Path
from typing import Any, Literal, Protocol

from xmc.errors import XMCError
from xmc.storage import parse_json, whole_file

logger = logging.getLogger(__name__)

Record = dict[str, Any]


class Tracker(Protocol):
    """Receives one flat record a log step or evaluation; `step` is always in it."""

    def log(self, record: Record) -> None: ...

    def close(self) -> None: ...


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


def check_wandb(mode: Literal["online", "offline"]) -> None:
    """Raise XMCError where the package is not installed, or the environment asks for another mode."""
    if importlib.util.find_spec("wandb") is None:
        raise XMCError("tracking=wandb needs the package wandb: pip install 'xmc[wandb]'")
    asked = os.environ.get("WANDB_MODE", "online")
    if mode == "online" != asked:
        instead = "tracking.mode=offline" if asked in ("offline", "dryrun") else "tracking=none"
        raise XMCError(f"the environment has WANDB_MODE={asked}, and tracking.mode=online; give {instead}, or unset it")


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
        import wandb

        try:
            self._run = wandb.init(
                dir=folder, mode=mode, project=project, name=name, config=config, id=run_id, resume="allow"
            )
        except Exception as error:  # wandb's own, or what is below it: no login, no network, an unknown project
            reason = str(error).partition("\n")[0]
            raise XMCError(
                f"Weights & Biases does not start ({reason}); log in with `wandb login`, or give tracking.mode=offline "
                "or tracking=none"
            ) from None

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
