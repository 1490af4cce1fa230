"""Does the best learning rate of the classifier at one fan-in serve another? With SmuPar, and without.

usage: python scripts/lr_transfer.py OUT [--fan-ins 128,32] [--rates 0.00125,0.0025,0.005,0.01,0.02] [override ...]

Trains every combination of parametrization (standard, supar), fan-in and rate, in OUT/<parametrization>-k<K>-lr<rate>,
and measures each on dev. At K = 128, from which supar counts here, the two are the same run, which is trained once;
there is no intermediate layer, whose rate supar scales by its own base. Overrides go to all. What is finished is
skipped, so the same command may be given again at any time. Writes OUT/lr_transfer.md and, where matplotlib is
installed, OUT/lr_transfer.png.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

METRIC = "nDCG@5"
BASE = 128
Figures = dict[tuple[str, int], list[float]]


def main() -> None:
    """Run what is missing, then write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fan-ins", type=numbers, default=[BASE, 32])
    parser.add_argument("--rates", type=rates, default=[0.00125, 0.0025, 0.005, 0.01, 0.02])
    options, overrides = parsed(parser)
    figures: Figures = {}
    for parametrization in ("standard", "supar"):
        for fan_in in options.fan_ins:
            figures[parametrization, fan_in] = [
                measured(options.out, parametrization, fan_in, rate, overrides) for rate in options.rates
            ]
            (options.out / "lr_transfer.md").write_text(table(figures, options.rates))
    print(table(figures, options.rates))
    try:
        plot(figures, options.rates, options.out / "lr_transfer.png")
    except ModuleNotFoundError as missing:
        print(f"no plot: {missing.name} is not installed", file=sys.stderr)


def parsed(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command line, and its overrides."""
    options, overrides = parser.parse_known_args()
    if unknown := [o for o in overrides if o.startswith("-")]:
        parser.error(f"unknown option {unknown[0]}; overrides are key=value")
    return options, overrides


def numbers(text: str) -> list[int]:
    """Integers separated by commas."""
    return [int(part) for part in text.split(",")]


def rates(text: str) -> list[float]:
    """Learning rates separated by commas."""
    return [float(part) for part in text.split(",")]


def measured(out: Path, parametrization: str, fan_in: int, rate: float, overrides: list[str]) -> float:
    """The metric on dev, in percent, of one combination."""
    name = "standard" if fan_in == BASE else parametrization
    run = out / f"{name}-k{fan_in}-lr{rate:g}"
    rules = [f"parametrization={name}", *([f"parametrization.base_fan_in={BASE}"] if name == "supar" else [])]
    finish(
        run,
        [*rules, "intermediate=identity", f"classifier.fan_in={fan_in}", f"classifier.optimizer.lr={rate}", *overrides],
    )
    return 100 * float(json.loads((run / "metrics-dev.json").read_text())["metrics"][METRIC])


def finish(run: Path, arguments: list[str]) -> None:
    """Train a run to its end, unless that was done, and forget its checkpoints."""
    if not (run / "model").is_dir():
        go_on = ["resume=true"] if (run / "config.yaml").exists() else arguments
        print("xmc train", f"run={run}", *go_on, flush=True)
        code = subprocess.run([sys.executable, "-m", "xmc", "train", f"run={run}", *go_on]).returncode
        if code:
            sys.exit(code)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)  # several times the model, for each of many runs


def table(figures: Figures, grid: list[float]) -> str:
    """A row a parametrization and fan-in, a column a rate; the best of a row is bold."""
    lines = [
        f"| {METRIC} on dev | K | " + " | ".join(f"{rate:g}" for rate in grid) + " |",
        "|" + "---|" * (len(grid) + 2),
    ]
    for (parametrization, fan_in), row in figures.items():
        cells = [f"**{value:.2f}**" if value == max(row) else f"{value:.2f}" for value in row]
        lines.append(f"| {parametrization} | {fan_in} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(figures: Figures, grid: list[float], path: Path) -> None:
    """The metric against the rate, one panel a parametrization; a ring marks the best of a curve."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
    for (parametrization, fan_in), row in figures.items():
        axes = panels[("standard", "supar").index(parametrization)]
        (line,) = axes.semilogx(grid, row, marker="o", label=f"K = {fan_in}")
        best = row.index(max(row))
        axes.plot(grid[best], row[best], marker="o", markersize=12, fillstyle="none", color=line.get_color())
        axes.set(title=parametrization, xlabel="learning rate of the classifier", xticks=grid)
        axes.set_xticklabels([f"{rate:g}" for rate in grid], fontsize=8)
        axes.minorticks_off()
        axes.legend()
    panels[0].set_ylabel(f"{METRIC} on dev")
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
