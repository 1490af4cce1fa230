"""What a run says of itself before its first step, and what can be done with it once it has a model."""

import logging
from typing import Any

import torch

from xmc import factory
from xmc.config import TrainConfig
from xmc.config.shell import shell_command
from xmc.data.corpus import Corpus
from xmc.distributed import Processes

logger = logging.getLogger(__name__)


def tell_opening(config: TrainConfig, corpus: Corpus, setup: factory.Training, device: torch.device) -> None:
    """Log what the run learns from, on what, for how long, and where to."""
    train, progress = corpus.split("train"), setup.state.progress
    others = "".join(f", {len(split):,} of {name}" for name, split in corpus.splits.items() if name != "train")
    labels = len(corpus.label_ids)
    logger.info("data: %s, %s documents of train%s", config.data.kind, f"{len(train):,}", others)
    logger.info(
        "labels: %s, %.1f a document; %s", f"{labels:,}", train.labels.nnz / max(1, len(train)), corpus.names_told()
    )
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    logger.info("device: %s%s", device, threads)
    steps = setup.plan.total_steps
    logger.info(
        "run: %s, %s steps of %d documents%s",
        *(config.run, f"{steps:,}", config.trainer.batch_size, f" from step {progress.step}" if progress.step else ""),
    )


def tell_changes(scalars: dict[str, Any], device: torch.device, processes: Processes) -> None:
    """Say where the number of threads or processes is no longer that of the checkpoint; older ones do not tell."""
    now = {"processes": processes.size} | ({"threads": torch.get_num_threads()} if device.type == "cpu" else {})
    for name, number in now.items():
        if (before := scalars.get(name, number)) != number:
            logger.warning(
                "%s: %d until here, %d from now on; the model may differ in its last bits from that of an "
                "uninterrupted run",
                *(name, before, number),
            )


def tell_next(config: TrainConfig) -> None:
    """Log what comes after training, each as a command to be pasted."""
    run = config.run
    splits = factory.load_corpus(config).splits
    measure_it = [shell_command("evaluate", run=run, split=name) for name in ("test", "dev") if name in splits]
    commands = [
        *measure_it[:1],
        shell_command("report", run=run),
        shell_command("predict", run=run, input="documents.jsonl", output="predictions.jsonl"),
        shell_command("serve", run=run),
    ]
    logger.info("next:%s", "".join(f"\n  {command}" for command in commands))
