"""Choosing among a few named configurations of a GPU kernel by the clock.

The choice decides in which order a kernel adds floats. It is therefore made once for a kind of call and kept on disk,
so that every later run on the machine gives the same bits.
"""

import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Configuration:
    """How a kernel is launched: labels a tile, and warps a program."""

    name: str
    labels: int
    warps: int


class Tuner:
    """Remembers the fastest configuration of each kind of call in a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._chosen: dict[str, str] = {}

    def choose(
        self, call: str, configurations: Sequence[Configuration], milliseconds: Callable[[Configuration], float]
    ) -> Configuration:
        """The configuration remembered for `call`, or else the fastest as `milliseconds` measures them."""
        by_name = {configuration.name: configuration for configuration in configurations}
        if call not in self._chosen:
            self._chosen = self._read() | self._chosen
        if self._chosen.get(call) not in by_name:
            times = {name: milliseconds(configuration) for name, configuration in by_name.items()}
            self._chosen[call] = min(times, key=lambda name: times[name])
            measured = ", ".join(f"{name} {time:.2f} ms" for name, time in times.items())
            logger.info("triton: tuned %s, once on this machine: %s (%s)", call, self._chosen[call], measured)
            self._write()
        return by_name[self._chosen[call]]

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self) -> None:
        """In one step, so that no other process reads half a file. Where nothing can be written, each run measures."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent)
            with open(handle, "w") as file:
                json.dump(self._read() | self._chosen, file, indent=1, sort_keys=True)
            os.replace(temporary, self._path)
        except OSError as error:
            logger.warning("triton: %s cannot be written (%s); the next run measures again", self._path, error)
