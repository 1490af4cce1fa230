"""The curves of a run, from the records of its log."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS = 300  # of a curve, at most


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure over the steps of training, float64 [n] each."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]

    def thinned(self) -> "Curve":
        """Means of neighbours, so that no more than `POINTS` are left."""
        parts = min(POINTS, len(self.steps))
        of_part = np.arange(len(self.steps)) * parts // max(len(self.steps), 1)
        size = np.bincount(of_part, minlength=parts)
        steps, values = (np.bincount(of_part, column, minlength=parts) / size for column in (self.steps, self.values))
        return Curve(steps, values)


@dataclass(frozen=True, slots=True)
class History:
    """What a log tells. curves: by key, `POINTS` long at most. seconds: of the steps, without evaluation on dev.

    peak_memory_mib: None where the log has no such key.
    """

    curves: dict[str, Curve]
    steps: int
    seconds: float
    peak_memory_mib: float | None


def history(records: Iterable[dict[str, Any]]) -> History:
    """The numbers of a log by key; whatever else a record holds is passed over."""
    points: dict[str, list[tuple[float, float]]] = {}
    seconds, last = 0.0, 0
    for record in records:
        step = record["step"]
        seconds += (record.get("seconds_per_step") or 0.0) * (step - last)
        last = step if "seconds_per_step" in record else last
        for key, value in record.items():
            if key != "step" and isinstance(value, int | float):
                points.setdefault(key, []).append((step, value))
    curves = {key: Curve(*np.array(pairs, dtype=np.float64).T) for key, pairs in points.items()}
    memory = curves.get("peak_memory_mib")
    return History(
        {key: curve.thinned() for key, curve in curves.items()},
        steps=int(max((curve.steps[-1] for curve in curves.values()), default=0)),
        seconds=seconds,
        peak_memory_mib=None if memory is None else float(memory.values.max()),
    )
