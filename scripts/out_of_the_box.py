"""What the defaults give: train and measure sets with nothing set but where they lie.

    python scripts/out_of_the_box.py FOLDER... [--seeds 0 1 2] [--output runs/out_of_the_box.json]

FOLDER: of {train,dev,test}.jsonl[.gz], or of {train,test}_{texts,labels}.txt. `FOLDER:title,text` names the fields that
are the text. Each run is `xmc train data=... data.root=FOLDER run=... seed=...` and `xmc evaluate`; a table of the test
figures, in percent, with the processor time of `xmc train`, its peak memory and the model's size is printed at the end.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHOWN = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@5")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/out_of_the_box.json"))
    parser.add_argument("--keep", type=Path, help="folder that keeps the runs")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="keys of xmc train, for smoke tests")
    args = parser.parse_args(arguments)
    figures: list[dict[str, Any]] = []
    args.output.parent.mkdir(parents=True, exist_ok=True)
    for folder in args.folders:
        for seed in args.seeds:
            with tempfile.TemporaryDirectory(prefix="xmc-") as temporary:
                run = (args.keep or Path(temporary)) / f"{Path(folder.partition(':')[0]).name}-{seed}"
                figures.append(measure(folder, seed, run, args.set))
            args.output.write_text(json.dumps(figures, indent=1) + "\n")
            print(json.dumps(figures[-1]), flush=True)
    print(table(figures))


def measure(folder: str, seed: int, run: Path, settings: Sequence[str]) -> dict[str, Any]:
    """The figures of one run."""
    root, _, fields = folder.partition(":")
    layout = "lightxml" if (Path(root) / "train_texts.txt").exists() else "jsonl"
    own = [f"data={layout}", f"data.root={root}", *([f"data.text_fields=[{fields}]"] if fields else [])]
    used = spent("train", *own, f"run={run}", f"seed={seed}", *settings)
    spent("evaluate", f"run={run}")
    metrics = json.loads((run / "metrics-test.json").read_text())
    size = sum(path.stat().st_size for path in (run / "model").rglob("*") if path.is_file())
    return {
        "set": Path(root).name,
        "seed": seed,
        **{name: round(100 * value, 2) for name, value in found(metrics).items()},
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 2**10),
        "model_mib": round(size / 2**20, 2),
    }


def found(values: dict[str, Any]) -> dict[str, float]:
    """The figures that are shown, wherever in the file they stand."""
    flat = dict(values)
    for value in values.values():
        if isinstance(value, dict):
            flat |= value
    return {name: float(flat[name]) for name in SHOWN}


def spent(command: str, *arguments: str) -> resource.struct_rusage:
    """What a command of xmc used. Ends the script where it fails."""
    process = subprocess.Popen([sys.executable, "-m", "xmc", command, *arguments])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    return used


def table(figures: list[dict[str, Any]]) -> str:
    """Means over the seeds, a line a set."""
    columns = [*SHOWN, "cpu_s", "peak_mib", "model_mib"]
    lines = ["| set | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name in dict.fromkeys(one["set"] for one in figures):
        own = [one for one in figures if one["set"] == name]
        means = [f"{sum(one[column] for one in own) / len(own):.2f}" for column in SHOWN]
        most = [f"{max(one[column] for one in own):,.0f}" for column in columns[len(SHOWN) :]]
        lines.append(f"| {name} | {len(own)} | " + " | ".join([*means, *most]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
