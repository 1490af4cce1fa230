"""Finished runs side by side: what their configurations differ in, and what they are worth and cost."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xmc.config import load_run_config
from xmc.config.shell import shell_command
from xmc.errors import XMCError
from xmc.model.saved import is_blend
from xmc.model.tensor_file import TensorFile
from xmc.run_report import flat, history, metrics_of
from xmc.storage import whole_file
from xmc.train.log import read_log

SHOWN = ("P@1", "P@3", "P@5", "PSP@5", "nDCG@5")
"""Metrics on the terminal; a file has all."""
_NOT_A_CHOICE = ("run", "resume", "recipe", "caution", "trainer.threads", "data.cache_dir", "data.processes")


@dataclass(frozen=True)
class Row:
    """A run. settings: the keys in which it differs from others. metrics: from 0 to 1. minutes: of training steps."""

    run: str
    settings: Mapping[str, str]
    metrics: Mapping[str, float]
    classifier_bytes: int
    minutes: float
    peak_mib: float


def compare(runs: Sequence[Path], split: str) -> list[Row]:
    """What is known of finished runs, of their figures on a split.

    Raises:
        XMCError: a folder holds no run, or one that was not measured on the split.
    """
    configs = [flat(load_run_config(run).model_dump(mode="json")) for run in runs]
    keys = _differing(configs)
    return [
        _row(run, {key: config[key] for key in keys if key in config}, split)
        for run, config in zip(runs, configs, strict=True)
    ]


def table(rows: Sequence[Row], split: str, over: str = "seed") -> str:
    """Markdown: a row for each setting, with the mean over those that differ in `over` alone, and half its range."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(pair for pair in row.settings.items() if pair[0] != over), []).append(row)
    keys = list(dict.fromkeys(key for settings in groups for key, _ in settings))
    metrics = [name for name in SHOWN if all(name in row.metrics for row in rows)]
    several = len(groups) < len(rows)
    head = [*map(_short(keys).get, keys)] if keys else ["run"]
    head = [*map(str, head), *metrics, "classifier MiB", "minutes", "peak MiB"]
    lines = [f"On {split}, in percent{f'; mean over {over}, and half the range' if several else ''}.", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for settings, of in groups.items():
        given = dict(settings)
        named = [given.get(key, "-") for key in keys] if keys else [of[0].run]
        figures = [_figure([100 * row.metrics[name] for row in of]) for name in metrics]
        cost = [
            f"{of[0].classifier_bytes / 2**20:.1f}",
            f"{statistics.fmean(row.minutes for row in of):.1f}",
            f"{max(row.peak_mib for row in of):.0f}",
        ]
        lines.append("| " + " | ".join([*named, *figures, *cost]) + " |")
    return "\n".join(lines)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """A row for each run, with every metric: Parquet where the file is named so, else CSV."""
    settings = list(dict.fromkeys(key for row in rows for key in row.settings))
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    values = [
        {
            "run": row.run,
            **{key: row.settings.get(key) for key in settings},
            **{name: row.metrics.get(name) for name in metrics},
            "classifier_bytes": row.classifier_bytes,
            "minutes": row.minutes,
            "peak_mib": row.peak_mib,
        }
        for row in rows
    ]
    if path.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        with whole_file(path, "wb") as out:
            parquet.write_table(pa.Table.from_pylist(values), out)
    else:
        with whole_file(path) as out:
            writer = csv.DictWriter(out, list(values[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(values)


def _differing(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys whose value is not that of all runs that have them; what only some have follows from the part chosen."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [
        key
        for key in keys
        if key not in _NOT_A_CHOICE and len({config[key] for config in configs if key in config}) > 1
    ]


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Each key by as few of its last parts as tell it from the others; the kind of a part is the part."""
    named = {key: key.removesuffix(".kind") for key in keys}
    short = {}
    for key, name in named.items():
        parts = name.split(".")
        tails = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        short[key] = next(
            tail for tail in tails if sum((f".{other}").endswith(f".{tail}") for other in named.values()) == 1
        )
    return short


def _row(run: Path, settings: Mapping[str, str], split: str) -> Row:
    path = run / f"metrics-{split}.json"
    if not path.is_file():
        measure_it = shell_command("evaluate", run=str(run), split=split)
        raise XMCError(f"{run} has no figures on {split}; measure it with: {measure_it}")
    past = history(read_log(run / "log.jsonl"))
    return Row(
        str(run),
        settings,
        metrics_of(path, split),
        _classifier_bytes(run),
        past.seconds / 60,
        past.peak_memory_mib or 0.0,
    )


def _classifier_bytes(run: Path) -> int:
    """Of the classifier's tensors in the saved model; of a blend, which has none of its own, 0."""
    head = run / "model" / "head.safetensors"
    if not head.is_file() or is_blend(run / "model"):
        return 0
    tensors = TensorFile(head)
    return sum(tensors[name].nbytes for name in tensors if name.startswith("classifier."))


def _figure(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {(max(values) - min(values)) / 2:.2f}" if len(values) > 1 else mean
