"""What the folder of a run tells without its model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def recorded_metrics(run: Path, split: str) -> dict[str, dict[str, float]]:
    """Metrics by split, of the splits measured before. Of test only where it is the split of the report."""
    kept = {}
    for path in sorted(run.glob("metrics-*.json")):
        of = path.stem.removeprefix("metrics-")
        if of not in (split, "test"):
            kept[of] = json.loads(path.read_text())["metrics"]
    return kept


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
