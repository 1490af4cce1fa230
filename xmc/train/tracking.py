"""Where the figures of a run go: always `log.jsonl`, and where else it is asked for."""

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any, Protocol

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
