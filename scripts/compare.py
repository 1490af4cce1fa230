"""Run a list of experiments one after another, and set them side by side: quality against bytes of the classifier.

usage: python scripts/compare.py OUT --experiments dense,set,set_auxiliary [--fan-ins 128,64,43] [--seeds 0,1,2]
           [--split dev] [override ...]

Each experiment (a file of conf/experiment; `a+b` combines two) is run at every fan-in and seed, in
OUT/<name>-k<K>-s<seed>; a dense classifier has no fan-in and runs once a seed. Overrides go to all,
experiment=eurlex57k and data.root=... among them. What is finished is skipped and what was interrupted goes on, so the
same command may be given again at any time. Writes OUT/compare.md, OUT/compare.json and, where matplotlib is
installed, OUT/compare.png. --split test reads test.
"""

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import safe_open

SHOWN = ("P@1", "P@3", "P@5", "PSP@1", "PSP@3", "PSP@5", "nDCG@5")


@dataclass(frozen=True)
class Row:
    """An experiment at a fan-in: metrics in percent, mean over seeds and spread (largest minus smallest)."""

    experiment: str
    fan_in: int | None
    seeds: int
    classifier_bytes: int
    minutes: float
    peak_mib: float
    mean: dict[str, float]
    spread: dict[str, float]


def main() -> None:
    """Run what is missing, then write the table, the figures and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("--experiments", type=lambda text: text.split(","), required=True)
    parser.add_argument("--fan-ins", type=numbers, default=[128])
    parser.add_argument("--seeds", type=numbers, default=[0])
    parser.add_argument("--split", choices=["dev", "test"], default="dev")
    options, overrides = parsed(parser)
    shared = [o for o in overrides if not o.startswith("experiment=")]
    chosen = [o.removeprefix("experiment=") for o in overrides if o.startswith("experiment=")]
    rows = []
    for name in options.experiments:
        for fan_in in [None] if "dense" in name.split("+") else options.fan_ins:
            runs = []
            for seed in options.seeds:
                run = options.out / (f"{name}-s{seed}" if fan_in is None else f"{name}-k{fan_in}-s{seed}")
                widths = [] if fan_in is None else [f"classifier.fan_in={fan_in}"]
                experiments = ",".join([*chosen, *name.split("+")])
                finish(run, [f"experiment=[{experiments}]", f"seed={seed}", *widths, *shared], options.split)
                runs.append(run)
            rows.append(collect(name, fan_in, runs, options.split))
            write(options.out, rows, options.split)
    print((options.out / "compare.md").read_text())


def parsed(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command line, and its overrides."""
    options, overrides = parser.parse_known_args()
    if unknown := [o for o in overrides if o.startswith("-")]:
        parser.error(f"unknown option {unknown[0]}; overrides are key=value")
    return options, overrides


def numbers(text: str) -> list[int]:
    """Integers separated by commas."""
    return [int(part) for part in text.split(",")]


def finish(run: Path, arguments: list[str], split: str) -> None:
    """Train a run to its end, forget its checkpoints and measure it, unless that was done."""
    if not (run / "model").is_dir():
        go_on = ["resume=true"] if (run / "config.yaml").exists() else arguments
        xmc("train", f"run={run}", *go_on)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)  # several times the model, for each of many runs
    if not (run / f"metrics-{split}.json").exists():
        xmc("evaluate", f"run={run}", f"split={split}")


def xmc(*arguments: str) -> None:
    """Run a command of xmc; stop with it where it fails."""
    print("xmc", *arguments, flush=True)
    code = subprocess.run([sys.executable, "-m", "xmc", *arguments]).returncode
    if code:
        sys.exit(code)


def collect(name: str, fan_in: int | None, runs: list[Path], split: str) -> Row:
    """The figures of an experiment's runs."""
    metrics = [json.loads((run / f"metrics-{split}.json").read_text())["metrics"] for run in runs]
    values = {key: [100 * m[key] for m in metrics] for key in SHOWN}
    logs = [log_of(run) for run in runs]
    return Row(
        name,
        fan_in,
        len(runs),
        classifier_bytes(runs[0]),
        statistics.fmean(seconds for seconds, _ in logs) / 60,
        max(peak for _, peak in logs),
        {key: statistics.fmean(v) for key, v in values.items()},
        {key: max(v) - min(v) for key, v in values.items()},
    )


def log_of(run: Path) -> tuple[float, float]:
    """Seconds spent in training steps, and peak memory in MiB."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [r for r in records if "documents_per_second" in r]
    seconds, last = 0.0, 0
    for record in steps:
        seconds += (record["step"] - last) * record["seconds_per_step"]
        last = record["step"]
    return seconds, max(r["peak_memory_mib"] for r in steps)


def classifier_bytes(run: Path) -> int:
    """Bytes of the classifier's tensors in the saved model."""
    with safe_open(run / "model" / "head.safetensors", "pt") as head:
        sizes = [head.get_tensor(name).nbytes for name in head.keys() if name.startswith("classifier.")]  # noqa: SIM118
    return sum(sizes)


def write(out: Path, rows: list[Row], split: str) -> None:
    """The table, the figures, and the plot."""
    head = ["experiment", "K", "classifier MiB", *SHOWN, "minutes", "peak MiB"]
    lines = [f"On {split}, percent; mean over seeds, with the spread where there are several.", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        figures = [f"{row.mean[k]:.2f}" + (f" ± {row.spread[k] / 2:.2f}" if row.seeds > 1 else "") for k in SHOWN]
        cells = [row.experiment, row.fan_in or "all", f"{row.classifier_bytes / 2**20:.1f}", *figures]
        lines.append("| " + " | ".join(map(str, [*cells, f"{row.minutes:.1f}", f"{row.peak_mib:.0f}"])) + " |")
    out.mkdir(parents=True, exist_ok=True)
    (out / "compare.md").write_text("\n".join(lines) + "\n")
    (out / "compare.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    try:
        plot(rows, out / "compare.png", split)
    except ModuleNotFoundError as missing:
        print(f"no plot: {missing.name} is not installed", file=sys.stderr)


def plot(rows: list[Row], path: Path, split: str) -> None:
    """P@1 against the classifier's bytes; the dense classifier is the line to reach."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, group in itertools.groupby(rows, key=lambda row: row.experiment):
        points = sorted((row.classifier_bytes / 2**20, row.mean["P@1"]) for row in group)
        if len(points) == 1 and "dense" in name.split("+"):
            axes.axhline(points[0][1], linestyle="--", color="grey", linewidth=1)
        axes.semilogx(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="classifier, MiB", ylabel=f"P@1 on {split}")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
