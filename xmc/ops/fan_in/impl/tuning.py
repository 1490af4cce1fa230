"""Choosing among a few named configurations of a GPU kernel by the clock.

The choice decides in which order a kernel adds floats. It is therefore made once for a kind of call and kept on disk,
so that every later run on the machine gives the same bits.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xmc.errors import XMCError
from xmc.storage import private_folder, read_json, whole_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Configuration:
    """How a kernel is launched: labels a tile, and warps a program.

    spread: labels and columns whose weights are made dense at once to sum the gradient of the features; None: it is
    summed by atomic adds.
    """

    name: str
    labels: int
    warps: int
    spread: tuple[int, int] | None = None


class DoesNotFit(ValueError):
    """A configuration asks for more than the GPU has."""


class Tuner:
    """Remembers the fastest configuration of each kind of call in a JSON file; None: for this process alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._chosen: dict[str, str] = {}

    def choose(
        self, call: str, configurations: Sequence[Configuration], milliseconds: Callable[[Configuration], float]
    ) -> Configuration:
        """The configuration remembered for `call`, or else the fastest as `milliseconds` measures them.

        Raises:
            DoesNotFit: `milliseconds` raises it of every one; those of which it does are passed over.
        """
        by_name = {configuration.name: configuration for configuration in configurations}
        if call not in self._chosen:
            self._chosen = self._read() | self._chosen
        if self._chosen.get(call) not in by_name:
            times, misfits = _measured(by_name, milliseconds)
            if not times:
                raise DoesNotFit(
                    f"backend: triton has nothing for {call} that fits this GPU ({'; '.join(misfits)}); take smaller "
                    "groups, or the back end torch"
                )
            self._chosen[call] = min(times, key=lambda name: times[name])
            told = ", ".join(f"{name} {time:.2f} ms" for name, time in times.items())
            passed_over = "".join(f"; not {misfit}" for misfit in misfits)
            logger.info(
                "triton: tuned %s, once on this machine: %s (%s%s)", call, self._chosen[call], told, passed_over
            )
            self._write()
        return by_name[self._chosen[call]]

    def _read(self) -> dict[str, str]:
        """What earlier runs chose; nothing where there is no such file, or it is no use."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            known = read_json(private_folder(self._path.parent) / self._path.name)
        except (OSError, XMCError) as error:
            logger.warning("triton: earlier measurements are not used: %s", error)
            return {}
        return {call: name for call, name in known.items() if isinstance(name, str)}

    def _write(self) -> None:
        """Where nothing can be written, each run measures."""
        if self._path is None:
            return
        try:
            with whole_file(private_folder(self._path.parent) / self._path.name) as out:
                json.dump(self._read() | self._chosen, out, indent=1, sort_keys=True)
        except OSError as error:
            logger.warning("triton: %s cannot be written (%s); the next run measures again", self._path, error)


def _measured(
    by_name: dict[str, Configuration], milliseconds: Callable[[Configuration], float]
) -> tuple[dict[str, float], list[str]]:
    """The time of each that fits, and of each other why it does not."""
    times, misfits = {}, []
    for name, configuration in by_name.items():
        try:
            times[name] = milliseconds(configuration)
        except DoesNotFit as misfit:
            misfits.append(f"{name}: {misfit}")
    return times, misfits
