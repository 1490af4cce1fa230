"""What can be done before a run: fetch its data, and learn what it would cost."""

import dataclasses
import json
import logging
from pathlib import Path

from xmc import build, coordinate_check, estimate, flops
from xmc.config import BenchmarkData, CoordinateCheckConfig, EstimateConfig, TrainConfig
from xmc.storage import whole_file

logger = logging.getLogger(__name__)


def prepare_set(config: TrainConfig) -> None:
    """Download and unpack a benchmark set where its files lack, read it into the cache and print what it counts."""
    build.prepare_data(config.data)
    corpus = build.read_corpus(config.data)
    for name, split in corpus.splits.items():
        print(f"{name:<8}{len(split):>12,} documents {split.labels.nnz / len(split):>8.2f} labels each")
    print(f"{'labels':<8}{len(corpus.label_ids):>12,}")
    if isinstance(config.data, BenchmarkData) and (benchmark := config.data.benchmark) is not None:
        print(f"{benchmark.name} as published; licence: {benchmark.licence}")


def estimate_memory(config: EstimateConfig) -> None:
    """Print what a run would take, whether the device has it and, if not, what would make it fit."""
    memory, counts = estimate.memory_of(config), estimate.count(config)
    own = estimate.estimate(config, counts)
    print(estimate.table(own))
    ways = estimate.remedies(config, counts, memory) if own.needed > memory else ([], None)
    print(estimate.verdict(own, memory, *ways))


def count_flops(config: TrainConfig) -> None:
    """Print the multiply-adds and bytes of every layer, and those of the dense twin."""
    build.prepare_machine("cpu", config.trainer.threads)
    print(flops.table(flops.count(config, build.load_corpus(config))))


def check_coordinates(config: CoordinateCheckConfig) -> None:
    """Measure how far a few steps move the logits at several fan-ins: a table, `<output>.json` and `<output>.png`."""
    device = build.prepare_machine(config.trainer.device, config.trainer.threads)
    points = list(coordinate_check.coordinate_check(config, build.load_corpus(config), device))
    print(coordinate_check.table(points))
    output = Path(config.check.output)
    with whole_file(f"{output}.json") as out:
        json.dump([dataclasses.asdict(point) for point in points], out, indent=1)
        out.write("\n")
    try:
        coordinate_check.plot(points, Path(f"{output}.png"))
    except ModuleNotFoundError as missing:
        logger.info("no plot: %s is not installed", missing.name)
