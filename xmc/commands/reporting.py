"""The report on finished runs."""

from pathlib import Path

import torch

from xmc import build
from xmc.commands.run_folder import corpus_of, half_for, is_finished, load_model
from xmc.config import ReportConfig, TrainConfig
from xmc.config.shell import shell_command
from xmc.data import Corpus
from xmc.evaluate import BINS, frequency_bins
from xmc.model import XMCModel
from xmc.predict import rank
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
    render,
)
from xmc.storage import whole_file
from xmc.train.tracking import read_log
from xmc.types import XMCError


def report_runs(config: ReportConfig, trained: list[TrainConfig]) -> None:
    """Write the report on one run, or on several side by side, as one HTML file."""
    device = build.prepare_machine(config.device, config.threads)
    folders = [Path(folder) for folder in config.folders]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    runs = [_facts(*run, config, device) for run in zip(names, folders, trained, strict=True)]
    missing = [run.measured.reason for run in runs if isinstance(run.measured, Missing)]
    if len(missing) == len(runs) and all(map(is_finished, folders)):
        raise XMCError(missing[0].removesuffix("."))
    file = f"{'report' if len(runs) == 1 else 'comparison'}-{config.split}.html"
    output = Path(config.output) if config.output else folders[0] / file
    with whole_file(output) as out:
        out.write(render(runs))
    print(output)


def _facts(name: str, run: Path, trained: TrainConfig, config: ReportConfig, device: torch.device) -> RunFacts:
    """What the report tells of a run; parts that it lacks say why."""
    go_on = shell_command("train", run=str(run), resume=True)
    unfinished = Missing(f"{name} has no finished model: `{go_on}` goes on.")
    measured: Measured | Missing = unfinished
    topology: Connections | Missing = unfinished
    if is_finished(run):
        model = load_model(run, device)
        corpus = corpus_of(model, trained)
        with half_for(config.split, model, run):
            measured = _measured(model, corpus, trained, config)
        counts = corpus.label_counts("train")[: len(model.label_ids)]
        topology = map_connections(model.classifier, counts, frequency_bins(counts), BINS) or Missing(
            "The classifier is dense: every label sees every feature."
        )
    return RunFacts(
        name,
        config=flat(trained.model_dump(mode="json")),
        history=history(read_log(run / "log.jsonl")),
        recorded=recorded_metrics(run, config.split),
        measured=measured,
        connections=topology,
        sizes=model_sizes(run),
    )


def _measured(model: XMCModel, corpus: Corpus, trained: TrainConfig, config: ReportConfig) -> Measured | Missing:
    if config.split not in corpus.splits:
        return Missing(f"{corpus.name} has no {config.split} split; split=... takes {' or '.join(corpus.splits)}.")
    batches = build.build_batches(trained, corpus, config.split, model.encoder, config.batch_size)
    metrics = trained.metrics
    ranked = rank(model, batches.by_length(), max(metrics.ks), corpus.split(config.split).filter)
    return measure_split(
        *(ranked, model.probability(ranked.scores), corpus, config.split),
        ks=metrics.ks,
        A=metrics.propensity_a,
        B=metrics.propensity_b,
        replicates=config.replicates,
        seed=config.seed,
        examples=config.examples,
    )
