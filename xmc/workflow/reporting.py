"""What the report on a run tells."""

from pathlib import Path

import torch

from xmc import factory
from xmc.config import TrainConfig
from xmc.config.shell import shell_command
from xmc.data.corpus import Corpus
from xmc.evaluate import BINS, frequency_bins
from xmc.model import XMCModel
from xmc.run_report import (
    Connections,
    Measured,
    Missing,
    RunFacts,
    flat,
    history,
    map_connections,
    measure_split,
    model_sizes,
    recorded_metrics,
)
from xmc.train.log import read_log
from xmc.workflow.predicting import rank
from xmc.workflow.run_folder import corpus_of, half_for, is_finished, load_model


def facts_of(
    name: str,
    run: Path,
    trained: TrainConfig,
    device: torch.device,
    split: str,
    batch_size: int,
    *,
    replicates: int,
    seed: int,
    examples: int,
) -> RunFacts:
    """What the report tells of a run, measured on a split; parts that it lacks say why.

    replicates: of the bootstrap. examples: documents that are shown.
    """
    go_on = shell_command("train", run=str(run), resume=True)
    unfinished = Missing(f"{name} has no finished model: `{go_on}` goes on.")
    measured: Measured | Missing = unfinished
    topology: Connections | Missing = unfinished
    if is_finished(run):
        model = load_model(run, device)
        corpus = corpus_of(model, trained)
        with half_for(split, model, run):
            measured = _measured(
                *(model, corpus, trained, split, batch_size), replicates=replicates, seed=seed, examples=examples
            )
        counts = corpus.label_counts("train")[: len(model.label_ids)]
        topology = map_connections(model.classifier, counts, frequency_bins(counts), BINS) or Missing(
            "The classifier is dense: every label sees every feature."
        )
    return RunFacts(
        name,
        config=flat(trained.model_dump(mode="json")),
        history=history(read_log(run / "log.jsonl")),
        recorded=recorded_metrics(run, split),
        measured=measured,
        connections=topology,
        sizes=model_sizes(run),
    )


def _measured(
    model: XMCModel,
    corpus: Corpus,
    trained: TrainConfig,
    split: str,
    batch_size: int,
    *,
    replicates: int,
    seed: int,
    examples: int,
) -> Measured | Missing:
    if split not in corpus.splits:
        return Missing(f"{corpus.name} has no {split} split; split=... takes {' or '.join(corpus.splits)}.")
    batches = factory.build_batches(trained, corpus, split, model.encoder, batch_size)
    metrics = trained.metrics
    ranked = rank(model, batches.by_length(), max(metrics.ks), corpus.split(split).filter)
    return measure_split(
        *(ranked, model.probability(ranked.scores), corpus, split),
        ks=metrics.ks,
        A=metrics.propensity_a,
        B=metrics.propensity_b,
        replicates=replicates,
        seed=seed,
        examples=examples,
        calibrated=model.calibration is not None,
    )
