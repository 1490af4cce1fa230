"""What 10 and 100 million labels would take on 8 and 64 devices: measured of few processes, computed beyond.

usage: python scripts/scale_on_paper.py OUT

Prints the tables of docs/results/scale.md. OUT has what `scripts/benchmarks/processes.py OUT` wrote of 1 and of 4
processes. Computed figures are those of `xmc estimate devices=`, of the recipe of amazon-3m with more labels and as
many documents; none was measured. A step of several devices takes, by arithmetic, the measured seconds of one process a
label, for each of its labels, and what it sends at the speed of the network.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from xmc.config import TrainConfig, parse
from xmc.config.compose import compose
from xmc.estimate import Counts, Estimate, count, estimate

MIB, GIB = 2**20, 2**30
LABELS = 2_812_281, 10_000_000, 100_000_000
DEVICES = 1, 8, 64
RECIPE = ["data=amazon-3m", "classifier.fan_in=64", "classifier/optimizer=sgd", "classifier.weight_dtype=bfloat16"]
RECIPE += ["trainer.device=cuda", "trainer.batch_size=512", "lexical=none"]
OF_LABELS = "classifier: weights", "classifier: index", "classifier: optimizer state", "classifier: gradients"
NETWORK = 10e9 / 8  # bytes a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    one, four = (json.loads((out / f"processes-{n}.json").read_text()) for n in (1, 4))
    print(*["## Measured", "", *measured(one, four), "", "## Computed: memory and traffic", "", *computed()], sep="\n")
    print(*["", "## Computed: the time of a step", "", *times(one)], sep="\n")


def measured(one: dict[str, Any], four: dict[str, Any]) -> list[str]:
    """Of one process and of each of four."""
    whole, (largest, smallest) = one["divided"][0], (max(four["divided"]), min(four["divided"]))
    sent, told = max(four["sent"]), four["estimated_sent"]
    return [
        "| | 1 process | each of 4 | a quarter of 1 |",
        "|---|---|---|---|",
        f"| of the labels, MiB | {mib(whole)} | {mib(smallest)} to {mib(largest)} | {mib(whole / 4)} |",
        f"| what `xmc estimate` says of it | {mib(one['estimated_divided'])} | {mib(four['estimated_divided'])} | |",
        f"| growth of resident memory, MiB | {mib(one['grown'][0])} | {mib(min(four['grown']))} to "
        f"{mib(max(four['grown']))} | {mib(one['grown'][0] / 4)} |",
        f"| sent in a step, bytes | 0 | {sent:,} | |",
        f"| what `xmc estimate` says of it | 0 | {told:,} ({100 * (told / sent - 1):+.2f}%) | |",
    ]


def computed() -> list[str]:
    config = parse(TrainConfig, compose(RECIPE, TrainConfig))
    known = count(config, 5)
    lines = [
        "| labels | devices | of the labels, MiB a device | all of a device at its peak, MiB | sent in a step, MiB "
        "| all labels together at the end, GiB |",
        "|---|---|---|---|---|---|",
    ]
    for labels in LABELS:
        whole = of_labels(estimate(config, with_labels(known, labels)))
        for devices in DEVICES:
            told = estimate(config, with_labels(known, labels), devices)
            sent = sum(part.bytes for part in told.traffic)
            figures = f"{mib(of_labels(told))} | {mib(peak_of_training(told))} | {sent / MIB:,.1f} | {whole / GIB:,.1f}"
            lines.append(f"| {labels:,} | {devices} | {figures} |")
    return lines


def times(one: dict[str, Any]) -> list[str]:
    config = parse(TrainConfig, compose(one["overrides"], TrainConfig))
    known, a_label = count(config, 5), one["seconds"] / one["labels"]
    lines = ["| labels | processes | their pass, s | sending, s | share of sending |", "|---|---|---|---|---|"]
    for labels in LABELS:
        for devices in DEVICES:
            told = estimate(config, with_labels(known, labels), devices)
            working, sending = a_label * labels / devices, sum(part.bytes for part in told.traffic) / NETWORK
            share = 100 * sending / (working + sending)
            lines.append(f"| {labels:,} | {devices} | {working:,.2f} | {sending:,.4f} | {share:.1f}% |")
    return lines


def with_labels(known: Counts, labels: int) -> Counts:
    return replace(known, labels=labels)


def of_labels(told: Estimate) -> int:
    """What is there for each label."""
    parts = [*told.always, *told.moments[0].parts]
    return sum(part.bytes for part in parts if part.name in OF_LABELS)


def peak_of_training(told: Estimate) -> int:
    """Without the end, when the first device has all labels."""
    moments = [moment.bytes for moment in told.moments if moment.name != "bringing all labels together"]
    return sum(part.bytes for part in told.always) + max(moments)


def mib(size: float) -> str:
    return f"{size / MIB:,.0f}"


if __name__ == "__main__":
    main()
