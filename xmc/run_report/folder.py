"""What the folder of a run tells without its model: its figures, its sizes, and the curves of its log."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.errors import XMCError
from xmc.storage import read_json

POINTS = 300  # of a curve, at most


def recorded_metrics(run: Path, split: str) -> dict[str, dict[str, float]]:
    """Metrics by split, of the splits measured before. Of test only where it is the split of the report."""
    kept = {}
    for path in sorted(run.glob("metrics-*.json")):
        of = path.stem.removeprefix("metrics-")
        if of not in (split, "test"):
            kept[of] = metrics_of(path, of)
    return kept


def metrics_of(path: Path, split: str) -> dict[str, float]:
    """The metrics that a run's file holds, from 0 to 1."""
    metrics = read_json(path).get("metrics")
    if not isinstance(metrics, dict) or not all(isinstance(value, int | float) for value in metrics.values()):
        raise XMCError(
            f"{path} holds no metrics; write it anew with `xmc evaluate split={split} run=...`, or delete it"
        )
    return metrics


def model_sizes(run: Path) -> dict[str, int]:
    """Bytes of the saved model's files: of its encoder, of everything after it, and of the names of the labels."""
    parts = {
        "encoder and tokenizer": "encoder/**/*",
        "layers after the encoder": "head.safetensors",
        "label names": "labels.jsonl",
    }
    sizes = {
        name: sum(path.stat().st_size for path in (run / "model").glob(pattern) if path.is_file())
        for name, pattern in parts.items()
    }
    return sizes if any(sizes.values()) else {}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Values of nested sections by dotted key, as JSON; a string stands without its quotes."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


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
