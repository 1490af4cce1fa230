"""`xmc evaluate`: what a run's model is worth on a split."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from xmc.commands.command import Command, Given
from xmc.config import RunData, Section, Split, TrainConfig, load_run_config
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.job import place
from xmc.values import Count, Device, Divide, OwnThreads, Text

if TYPE_CHECKING:
    import torch

    from xmc.distributed import Processes


class EvaluateConfig(Section):
    """The metrics of a run's model on one split."""

    run: Text
    """folder of a run"""
    data: RunData = Field(default_factory=dict)
    split: Split = "test"
    documents: bool = False
    """the figures of each document too, in documents-<split>.jsonl"""
    divide: Divide = "documents"
    batch_size: Count = 256
    device: Device = "auto"
    threads: OwnThreads = None


def run(config: EvaluateConfig, _: Given) -> None:
    """Measure a run's model on a split: a table on the terminal and `<run>/metrics-<split>.json`.

    documents=true: also `<run>/documents-<split>.jsonl`, the figures of each document. Of a calibrated model also
    `<run>/decisions-<split>.json`: what its thresholds give, and calibration errors.
    """
    trained = load_run_config(config.run, config.data)
    with undisturbed():
        from xmc.distributed import joined
        from xmc.machine import prepare_machine

    with joined(place()) as processes:
        device = prepare_machine(config.device, config.threads, processes.local_rank)
        _measure(config, trained, device, processes)


def _measure(config: EvaluateConfig, trained: TrainConfig, device: "torch.device", processes: "Processes") -> None:
    from xmc import factory
    from xmc.distributed import ALONE
    from xmc.model import Blend
    from xmc.workflow.calibrating import Lists, decide
    from xmc.workflow.measuring import figures_of_documents, report_of, scores_of
    from xmc.workflow.predicting import rank, rank_by_blend
    from xmc.workflow.run_folder import (
        corpus_of,
        half_for,
        held_if_writable,
        load_model_or_blend,
        write_json,
        write_json_lines,
    )

    folder = Path(config.run)
    factory.model_folder(folder)
    with held_if_writable(folder) if processes.is_first else nullcontext():
        model = load_model_or_blend(folder, device, processes if config.divide == "labels" else ALONE)
        corpus = corpus_of(model, trained)
        ks, split, decisions = trained.metrics.ks, corpus.split(config.split), None
        if isinstance(model, Blend):
            if processes.size > 1:
                raise XMCError(f"{folder} is a blend, which one process measures; leave torchrun out")
            given = scores_of(model, split, config.split, max(ks))
            with half_for(config.split, model, folder):
                top = rank_by_blend(model, split.texts, max(ks), split.filter, given, config.batch_size)
        else:
            batches = factory.build_batches(trained, corpus, config.split, model.encoder, config.batch_size, processes)
            k = max(*ks, model.calibration.k if model.calibration else 0)
            with half_for(config.split, model, folder):
                top = rank(model, batches.by_length(), k, split.filter, processes)
            if not processes.is_first:
                return
            decisions = None if model.calibration is None else decide(Lists.of(top, split), model, ks)
        report = report_of(top, corpus, config.split, trained.metrics)
        try:
            write_json(folder / f"metrics-{config.split}.json", report.to_dict())
            if config.documents:
                figures = figures_of_documents(top, split, ks)
                write_json_lines(folder / f"documents-{config.split}.jsonl", figures)
            if decisions is not None:
                write_json(folder / f"decisions-{config.split}.json", decisions.to_dict())
        finally:  # what was measured is shown, whether it can be kept or not
            print(report.table(), *([] if decisions is None else [decisions.table()]), sep="\n")


COMMAND = Command(EvaluateConfig, run, several=True, often=("split", "documents"))
