"""The README's figure, from docs/results.json: test P@1, P@3 and P@5 of our classifiers and of PECOS XR-Linear.

usage: python scripts/plot_quality.py        (needs matplotlib: pip install 'xmc[dev]')
"""

import json
import sys
from pathlib import Path

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed; get it with: pip install 'xmc[dev]'")

DOCS = Path(__file__).parent.parent / "docs"
COLOURS = {"xmc, sparse": "#1b6ca8", "xmc, dense": "#8fbcdb", "PECOS XR-Linear": "#b5b5b5"}


def main() -> None:
    """Write docs/figures/quality.png."""
    sets: dict[str, dict[str, list[float]]] = json.loads((DOCS / "results.json").read_text())
    figure, axes = plt.subplots(1, len(sets), figsize=(3.2 * len(sets), 2.8), layout="constrained")
    for axis, (title, systems) in zip(axes, sets.items(), strict=True):
        width = 0.8 / len(systems)
        for i, (system, values) in enumerate(systems.items()):
            places = [rank + (i - (len(systems) - 1) / 2) * width for rank in range(len(values))]
            bars = axis.bar(places, values, 0.94 * width, color=COLOURS[system], label=system)
            axis.bar_label(bars, fmt="%.1f", fontsize=6.5, padding=1)
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(3), ["P@1", "P@3", "P@5"])
        axis.set_ylim(0, 104)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("test, percent")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    (DOCS / "figures").mkdir(exist_ok=True)
    figure.savefig(DOCS / "figures" / "quality.png", dpi=160)


if __name__ == "__main__":
    main()
