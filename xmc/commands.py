"""What the commands do, once their configuration is checked."""

import dataclasses
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from xmc import build, coordinate_check, estimate, flops
from xmc.add_labels import add_labels_to
from xmc.calibrate import Lists, calibrate, decide
from xmc.config import (
    AddLabelsConfig,
    BenchmarkData,
    CalibrateConfig,
    CoordinateCheckConfig,
    EstimateConfig,
    EvaluateConfig,
    FinetuneConfig,
    Metrics,
    PredictConfig,
    ReportConfig,
    TrainConfig,
    run_config_path,
)
from xmc.data import Batches, Corpus, StreamFilter, read_documents, read_rows
from xmc.evaluate import BINS, Report, check_metric_name, evaluate, frequency_bins
from xmc.model import XMCModel
from xmc.model.tensor_file import fill
from xmc.predict import open_output, predict_documents, rank, write_predictions
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
from xmc.train.checkpoint import Checkpoints
from xmc.train.loop import Validate, train
from xmc.train.state import TrainState
from xmc.train.tracking import read_log
from xmc.types import TopK, XMCError

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


def train_run(config: TrainConfig, config_yaml: str) -> None:
    """Train from raw text, or from a trained model, to `<run>/model`, or go on where the run was interrupted.

    config_yaml: the resolved configuration, to be kept in the run folder.
    """
    run = Path(config.run)
    check_run_folder(run, config.resume)
    check_metric_name(config.trainer.metric, config.metrics.ks)
    device = build.prepare_machine(config.trainer.device, config.trainer.threads)
    corpus = build.load_corpus(config)
    source, keeps = None, False
    if isinstance(config, FinetuneConfig):
        source, keeps = build.load_source(config.source), config.keep_labels
    learned = build.learned_part(corpus, source) if source is not None and keeps else corpus
    checkpoints = Checkpoints(
        run / "checkpoints", config_hash=build.run_fingerprint(config, corpus), keep_last=config.trainer.keep_last
    )
    saved = checkpoints.load_last() if config.resume and checkpoints.steps() else None
    setup = build.build_training(config, learned, device, source=source)
    if saved is not None:
        setup.state.load(*saved)
        logger.info("resuming after step %d", setup.state.progress.step)
    if not config.resume:
        run.mkdir(parents=True, exist_ok=True)
        with open_output(str(run_config_path(run))) as out:
            out.write(config_yaml)
    tracker = build.build_tracker(config, setup.state.progress.step)
    try:
        train(
            setup.state,
            setup.batches,
            setup.plan,
            validate=_validation(setup, learned, config),
            checkpoints=checkpoints,
            tracker=tracker,
        )
    finally:
        tracker.close()
    _take_best(setup.state, checkpoints)
    model = setup.state.model
    _finish(setup, build.with_kept_labels(model, source) if source is not None and keeps else model, config)


def evaluate_run(config: EvaluateConfig, trained: TrainConfig) -> None:
    """Measure a run's model on a split: a table on the terminal and `<run>/metrics-<split>.json`.

    Of a calibrated model also `<run>/decisions-<split>.json`: what its thresholds give, and calibration errors.
    """
    run = Path(config.run)
    device = build.prepare_machine(config.device, config.threads)
    model = _load_model(run, device)
    corpus = _corpus_of(model, trained)
    batches = build.build_batches(trained, corpus, config.split, model.encoder, config.batch_size)
    ks, split = trained.metrics.ks, corpus.split(config.split)
    top = rank(model, batches.by_length(), max(*ks, model.calibration.k if model.calibration else 0), split.filter)
    report = _report(top, corpus, config.split, trained.metrics)
    _write_metrics(run, config.split, report)
    print(report.table())
    if model.calibration is not None:
        lists = Lists.of(top, split)
        decisions = decide(lists, model, ks)
        _write_json(run / f"decisions-{config.split}.json", decisions.to_dict())
        print(decisions.table())


def calibrate_run(config: CalibrateConfig, trained: TrainConfig) -> None:
    """Fit a run's probabilities and thresholds to its dev split, into the model's card and `<run>/calibration.json`."""
    run = Path(config.run)
    device = build.prepare_machine(config.device, config.threads)
    model = _load_model(run, device)
    corpus = _corpus_of(model, trained)
    if "dev" not in corpus.splits:
        raise XMCError(f"{run} has no dev split (data.dev_fraction=0) to calibrate on; train a model with one")
    dev = corpus.split("dev")
    batches = build.build_batches(trained, corpus, "dev", model.encoder, config.batch_size)
    fitted = calibrate(
        model,
        Lists.of(rank(model, batches.by_length(), config.k, dev.filter), dev),
        trained.metrics.ks,
        precision=config.precision,
        per_label=config.per_label,
        min_positives=config.min_positives,
    )
    model.calibration = fitted.calibration
    model.save_card(run / "model")
    _write_json(run / "calibration.json", fitted.to_dict())
    print(fitted.table())


def report_runs(config: ReportConfig, trained: list[TrainConfig]) -> None:
    """Write the report on one run, or on several side by side, as one HTML file."""
    device = build.prepare_machine(config.device, config.threads)
    folders = [Path(folder) for folder in config.folders]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    runs = [_facts(*run, config, device) for run in zip(names, folders, trained, strict=True)]
    file = f"{'report' if len(runs) == 1 else 'comparison'}-{config.split}.html"
    output = Path(config.output) if config.output else folders[0] / file
    with open_output(str(output)) as out:
        out.write(render(runs))
    print(output)


def predict_run(config: PredictConfig, trained: TrainConfig | None) -> None:
    """Write the best labels of new documents. trained: as the run was; None of a model without its run."""
    device = build.prepare_machine(config.device, config.threads)
    model = _load_model(Path(config.run), device)
    documents, left_out = _documents(config, trained, model), None
    if config.filter is not None:
        filter = StreamFilter(Path(config.filter), len(model.label_ids))
        documents, left_out = filter.checked(documents), filter.left_out
    ranked = predict_documents(
        *(model, documents),
        k=config.k,
        batch_size=config.batch_size,
        threshold=config.threshold,
        left_out=left_out,
    )
    count = write_predictions(ranked, config.output, config.format, model.label_ids)
    logger.info("%d documents -> %s", count, "standard output" if config.output == "-" else config.output)


def _documents(config: PredictConfig, trained: TrainConfig | None, model: XMCModel) -> Iterator[tuple[str, str]]:
    """Id and text of each document, or its sparse features where the model was trained on these."""
    source = sys.stdin.buffer if config.input == "-" else config.input
    if not model.encoder.reads_text:
        if config.text_fields:
            raise XMCError(f"text_fields: {config.run} was trained on sparse features, which have none; leave it out")
        return read_rows(source, len(model.encoder.tokenizer))
    fields = config.text_fields or build.text_fields(trained)
    return read_documents(source, fields, config.id_field, config.text_separator)


def add_labels(config: AddLabelsConfig, trained: TrainConfig | None) -> None:
    """Save a model with new labels beside its own. trained: as for `predict_run`."""
    output = Path(config.output)
    if output.exists():
        raise XMCError(f"{output} exists already; choose another folder with output=..., or delete it")
    device = build.prepare_machine(config.device, config.threads)
    model = add_labels_to(build.load_source(config.run).to(device), config, trained)
    _save_model(model, output)
    logger.info("%d labels -> %s", len(model.label_ids), output)


def check_coordinates(config: CoordinateCheckConfig) -> None:
    """Measure how far a few steps move the logits at several fan-ins: a table, `<output>.json` and `<output>.png`."""
    device = build.prepare_machine(config.trainer.device, config.trainer.threads)
    points = list(coordinate_check.coordinate_check(config, build.load_corpus(config), device))
    print(coordinate_check.table(points))
    output = Path(config.check.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with open_output(f"{output}.json") as out:
        json.dump([dataclasses.asdict(point) for point in points], out, indent=1)
        out.write("\n")
    try:
        coordinate_check.plot(points, Path(f"{output}.png"))
    except ModuleNotFoundError as missing:
        logger.info("no plot: %s is not installed", missing.name)


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


def measure(model: XMCModel, batches: Batches, corpus: Corpus, split: str, metrics: Metrics) -> Report:
    """Every metric of a model on a split, without the pairs that the split's filter leaves out."""
    top = rank(model, batches.by_length(), max(metrics.ks), corpus.split(split).filter)
    return _report(top, corpus, split, metrics)


def _report(top: TopK, corpus: Corpus, split: str, metrics: Metrics) -> Report:
    documents = corpus.split(split)
    pairs = None if documents.filter is None else np.column_stack(documents.filter.nonzero())
    return evaluate(
        top.labels.numpy(),
        documents.labels,
        train_counts=corpus.label_counts("train"),
        num_train=len(corpus.split("train")),
        ks=metrics.ks,
        A=metrics.propensity_a,
        B=metrics.propensity_b,
        filter=pairs,
    )


def _facts(name: str, run: Path, trained: TrainConfig, config: ReportConfig, device: torch.device) -> RunFacts:
    """What the report tells of a run; parts that it lacks say why."""
    unfinished = Missing(f"{name} has no finished model: `xmc train run={run} resume=true` goes on.")
    measured: Measured | Missing = unfinished
    topology: Connections | Missing = unfinished
    if (run / "model").is_dir():
        model = _load_model(run, device)
        corpus = _corpus_of(model, trained)
        measured = _measured(model, corpus, trained, config)
        counts = corpus.label_counts("train")
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


def _validation(setup: build.Training, corpus: Corpus, config: TrainConfig) -> Validate | None:
    dev_batches = setup.dev_batches
    if dev_batches is None:
        return None
    shown = [f"P@{k}" for k in config.metrics.ks] + [f"PSP@{max(config.metrics.ks)}", config.trainer.metric]

    def validate() -> tuple[float, dict[str, float]]:
        report = measure(setup.state.model, dev_batches, corpus, "dev", config.metrics)
        return report[config.trainer.metric], {name: report[name] for name in shown}

    return validate


def check_run_folder(run: Path, resume: bool) -> None:
    """Raise XMCError where a new run would overwrite another."""
    if not resume and run_config_path(run).exists():
        raise XMCError(
            f"{run} already holds a run; go on with it by resume=true, choose another folder with run=..., or delete it"
        )


def _take_best(state: TrainState, checkpoints: Checkpoints) -> None:
    """Go back to the best model on dev; without dev data, stay with the last."""
    if state.progress.best_step is not None:
        tensors, _ = checkpoints.load_best(state.progress.best_step)
        fill(state.model.state_dict(), tensors["model"])


def _finish(setup: build.Training, model: XMCModel, config: TrainConfig) -> None:
    """Save the run's model, and its figures on dev where there is dev data."""
    run, step = Path(config.run), setup.state.progress.best_step
    _save_model(model, run / "model")
    if setup.dev_batches is not None:
        _write_metrics(run, "dev", measure(model, setup.dev_batches, _corpus_of(model, config), "dev", config.metrics))
    which = "last model" if step is None else f"best model (step {step})"
    logger.info("%s -> %s", which, run / "model")


def _save_model(model: XMCModel, folder: Path) -> None:
    """Put the model's folder in place of what is there, once it is whole."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _write_metrics(run: Path, split: str, report: Report) -> None:
    _write_json(run / f"metrics-{split}.json", report.to_dict())


def _write_json(path: Path, values: object) -> None:
    with open_output(str(path)) as out:
        json.dump(values, out, indent=2)
        out.write("\n")


def _load_model(run: Path, device: torch.device) -> XMCModel:
    return XMCModel.from_pretrained(build.model_folder(run), device=str(device))


def _corpus_of(model: XMCModel, trained: TrainConfig) -> Corpus:
    """The data of a run over the labels of its model."""
    corpus = build.load_corpus(trained)
    if isinstance(trained, FinetuneConfig) and trained.keep_labels and set(corpus.label_ids) <= set(model.label_ids):
        return corpus.over(model.label_ids, model.label_names)
    if model.label_ids != corpus.label_ids:
        raise XMCError(
            f"the labels of {corpus.name} ({len(corpus.label_ids)}) are no longer those that {trained.run} was trained "
            f"on ({len(model.label_ids)}); restore the data, or train anew"
        )
    return corpus
