"""`xmc prepare`: the data of a run, read before it."""

from xmc.commands.command import Command, Given
from xmc.config import BenchmarkData, TrainConfig
from xmc.endings import undisturbed


def run(config: TrainConfig, _: Given) -> None:
    """Download and unpack a benchmark set where its files lack, read it into the cache and print what it counts."""
    with undisturbed():
        from xmc import build

    build.prepare_data(config.data)
    corpus = build.read_corpus(config.data)
    for name, split in corpus.splits.items():
        print(f"{name:<8}{len(split):>12,} documents {split.labels.nnz / len(split):>8.2f} labels each")
    print(f"{'labels':<8}{len(corpus.label_ids):>12,}")
    if isinstance(config.data, BenchmarkData) and (benchmark := config.data.benchmark) is not None:
        print(f"{benchmark.name} as published; licence: {benchmark.licence}")


COMMAND = Command(TrainConfig, run)
