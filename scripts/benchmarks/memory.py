"""What `xmc estimate` says of a list of short runs on the CPU, beside the peak that each run then has.

usage: python scripts/benchmarks/memory.py OUT [--transformer FOLDER] [--eurlex57k FOLDER] [--threads 1]

Each run trains 20 steps in a process of its own, in OUT/<name>, of which only the log and the figures are kept. What is
finished is not repeated, so the same command may be given again at any time. Runs that need a folder that is not given
are left out. Writes OUT/memory.md and OUT/memory.json. The measured peak is the largest `peak_memory_mib` of the run's
log, of resident memory.
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from xmc.commands.estimate import EstimateConfig
from xmc.config import parse
from xmc.config.compose import compose
from xmc.estimate import count, estimate

MIB = 2**20
SHORT = ["trainer.device=cpu", "trainer.max_steps=20", "trainer.log_every=5", "trainer.eval_every=20"]


@dataclass(frozen=True)
class Row:
    """Peaks in MiB. moment: which one the estimate takes for the largest."""

    run: str
    overrides: str
    estimated: float
    measured: float
    moment: str

    @property
    def error(self) -> float:
        return self.estimated / self.measured - 1


def main() -> None:
    """Estimate and run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("--transformer", help="a Hugging Face encoder, by folder")
    parser.add_argument("--eurlex57k", help="the folder of the set")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for name, own in runs(options.transformer, options.eurlex57k).items():
        overrides = [*own, *SHORT, f"trainer.threads={options.threads}"]
        measured = peak_of(options.out / name, overrides)
        config = parse(EstimateConfig, compose(overrides, EstimateConfig))
        told = estimate(config, count(config, config.labels_a_document))
        shown = " ".join(o for o in own if "name=" not in o and "root=" not in o)
        rows.append(Row(name, shown, told.peak / MIB, measured, told.largest.name))
        write(options.out, rows)
    print((options.out / "memory.md").read_text())


def runs(transformer: str | None, eurlex57k: str | None) -> dict[str, list[str]]:
    """The overrides of each run by its name."""
    listed = {
        "demo": [],
        "auxiliary": ["auxiliary=clusters"],
        "sgd": ["classifier.fan_in=64", "classifier/optimizer=sgd"],
        "dense": ["experiment=dense"],
        "topkast": ["experiment=topkast", "sparsity.refresh=5"],
        "groups": ["experiment=groups_head", "sparsity.interval=5"],
    }
    if transformer is not None:
        backbone = ["encoder=transformer", f"encoder.name={transformer}", "encoder.max_length=96"]
        listed["transformer"] = [*backbone, "trainer.batch_size=32"]
        listed["micro-batches"] = [*backbone, "trainer.batch_size=32", "trainer.micro_batch_size=8"]
    if eurlex57k is not None:
        listed["eurlex57k"] = ["experiment=eurlex57k", f"data.root={eurlex57k}"]
    return listed


def peak_of(run: Path, overrides: list[str]) -> float:
    """The peak in MiB that a run logs; it is run where it is not finished."""
    if not (run / "metrics-dev.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        code = subprocess.run([sys.executable, "-m", "xmc", "train", f"run={run}", *overrides]).returncode
        if code:
            sys.exit(code)
        for weights in ("checkpoints", "model"):
            shutil.rmtree(run / weights)
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return float(max(record["peak_memory_mib"] for record in records if "peak_memory_mib" in record))


def write(out: Path, rows: list[Row]) -> None:
    """The table and the figures."""
    lines = [
        "| run | overrides | estimated, MiB | measured, MiB | error | largest moment |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = f"{row.estimated:,.0f} | {row.measured:,.0f} | {100 * row.error:+.1f}%"
        lines.append(f"| {row.run} | {f'`{row.overrides}`' if row.overrides else ''} | {figures} | {row.moment} |")
    out.mkdir(parents=True, exist_ok=True)
    (out / "memory.md").write_text("\n".join(lines) + "\n")
    (out / "memory.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
