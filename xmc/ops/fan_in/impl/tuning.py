"""Choosing by the clock, on a GPU, among a few named ways to make a call: kernels' configurations, back ends.

The choice decides in which order floats are added. It is therefore made once for a kind of call and kept on disk, so
that every later run on the machine gives the same bits, and in a run's checkpoints, so that it goes on with them.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from xmc.errors import XMCError
from xmc.storage import private_folder, read_json, user_cache, whole_file
from xmc.types import FanIn

logger = logging.getLogger(__name__)

REHEARSED = 1 << 16  # labels on which calls are timed


class Named(Protocol):
    """One of the ways to make a call."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


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
    """Remembers the fastest way to make each kind of call in a JSON file; None: for this process alone.

    kept: choices that come before those of the file. used: what was chosen in this process.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._chosen: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self.used: dict[str, str] = {}

    def choose(self, call: str, options: Sequence[N], milliseconds: Callable[[N], float]) -> N:
        """The option remembered for `call`, or else the fastest as `milliseconds` measures them.

        Raises:
            DoesNotFit: `milliseconds` raises it of every one; those of which it does are passed over.
        """
        by_name = {option.name: option for option in options}
        self.used[call] = (
            kept if (kept := self.kept.get(call)) in by_name else self._fastest(call, by_name, milliseconds)
        )
        return by_name[self.used[call]]

    def _fastest(self, call: str, by_name: Mapping[str, N], milliseconds: Callable[[N], float]) -> str:
        if call not in self._chosen:
            self._chosen = self._read() | self._chosen
        if self._chosen.get(call) not in by_name:
            times, misfits = _measured(by_name, milliseconds)
            if not times:
                raise DoesNotFit(
                    f"backend: nothing for {call} fits this GPU ({'; '.join(misfits)}); take smaller groups, or the "
                    "back end torch"
                )
            self._chosen[call] = min(times, key=lambda name: times[name])
            told = ", ".join(f"{name} {time:.2f} ms" for name, time in times.items())
            passed_over = "".join(f"; not {misfit}" for misfit in misfits)
            logger.info("tuned %s, once on this machine: %s (%s%s)", call, self._chosen[call], told, passed_over)
            self._write()
        return self._chosen[call]

    def _read(self) -> dict[str, str]:
        """What earlier runs chose; nothing where there is no such file, or it is no use."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            known = read_json(private_folder(self._path.parent) / self._path.name)
        except (OSError, XMCError) as error:
            logger.warning("tuning: earlier measurements are not used: %s", error)
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
            logger.warning("tuning: %s cannot be written (%s); the next run measures again", self._path, error)


def _measured(by_name: Mapping[str, N], milliseconds: Callable[[N], float]) -> tuple[dict[str, float], list[str]]:
    """The time of each that fits, and of each other why it does not."""
    times, misfits = {}, []
    for name, option in by_name.items():
        try:
            times[name] = milliseconds(option)
        except DoesNotFit as misfit:
            misfits.append(f"{name}: {misfit}")
    return times, misfits


TUNER = Tuner((cache := user_cache()) and cache / "xmc" / "tuned.json")


def choices() -> dict[str, str]:
    """What was chosen in this process, by kind of call."""
    return dict(TUNER.used)


def keep_choices(before: Mapping[str, str]) -> None:
    """Go on with what `choices` gave, where a call is of the same kind, the GPU's model included."""
    TUNER.kept = dict(before)


def rehearsal(layer: FanIn) -> FanIn:
    """The first labels, with weights of their own."""
    part = layer.part(slice(0, max(1, REHEARSED // layer.group_size)))
    return replace(part, weight=part.weight.clone(), bias=part.bias.clone())
