"""What the folder of a run tells without its model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmc.errors import XMCError
from xmc.storage import read_json


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
