"""`xmc prepare`: the data of a run, read before it."""

import importlib
import textwrap

from xmc.commands.command import Command, Given
from xmc.config import TrainConfig
from xmc.endings import undisturbed

_SHOWN, _WIDTH = 8, 100  # labels and characters of a document


def run(config: TrainConfig, _: Given) -> None:
    """Download and unpack a benchmark set where its files lack, read it into the cache and print what was read."""
    with undisturbed():
        importlib.import_module("xmc.data.store")  # what takes long of every reader
    config.data.prepare()
    corpus = config.data.load()
    for name, split in corpus.splits.items():
        print(f"{name:<8}{len(split):>12,} documents {split.labels.nnz / len(split):>8.2f} labels each")
    print(f"{'labels':<8}{len(corpus.label_ids):>12,}; {corpus.names_told()}")
    train = corpus.split("train")
    names = [corpus.label_names[int(label)] for label in train.labels[0].indices[:_SHOWN]]
    text = textwrap.shorten(train.texts[0], _WIDTH, placeholder=" ...")
    print(f"the first is {train.ids[0]}: {text!r} -> {'; '.join(names) or 'no label'}")
    if (benchmark := config.data.published) is not None:
        print(f"{benchmark.name} as published; licence: {benchmark.licence}")


COMMAND = Command(TrainConfig, run, often=("data", "data.root"), parts=("data",))
