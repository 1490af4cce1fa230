"""What a finished run is worth: its metrics, its probabilities, its report."""

from pathlib import Path

from xmc import build
from xmc.calibrate import Lists, calibrate, decide
from xmc.commands.run_folder import (
    corpus_of,
    half_for,
    held,
    held_if_writable,
    load_model,
    load_model_or_blend,
    write_json,
)
from xmc.config import CalibrateConfig, EvaluateConfig, Metrics, TrainConfig
from xmc.data import Batches, Corpus, Split, read_scores
from xmc.evaluate import Report, evaluate
from xmc.model import DEPTH, Blend, ScoreFiles, XMCModel
from xmc.predict import most_left_out, rank, rank_by_blend
from xmc.types import TopK, XMCError


def evaluate_run(config: EvaluateConfig, trained: TrainConfig) -> None:
    """Measure a run's model on a split: a table on the terminal and `<run>/metrics-<split>.json`.

    Of a calibrated model also `<run>/decisions-<split>.json`: what its thresholds give, and calibration errors.
    """
    run = Path(config.run)
    build.model_folder(run)
    device = build.prepare_machine(config.device, config.threads)
    with held_if_writable(run):
        model = load_model_or_blend(run, device)
        corpus = corpus_of(model, trained)
        ks, split, decisions = trained.metrics.ks, corpus.split(config.split), None
        if isinstance(model, Blend):
            given = _scores_of(model, split, config.split, max(ks))
            with half_for(config.split, model, run):
                top = rank_by_blend(model, split.texts, max(ks), split.filter, given, config.batch_size)
        else:
            batches = build.build_batches(trained, corpus, config.split, model.encoder, config.batch_size)
            k = max(*ks, model.calibration.k if model.calibration else 0)
            with half_for(config.split, model, run):
                top = rank(model, batches.by_length(), k, split.filter)
            decisions = None if model.calibration is None else decide(Lists.of(top, split), model, ks)
        report = report_of(top, corpus, config.split, trained.metrics)
        try:
            write_json(run / f"metrics-{config.split}.json", report.to_dict())
            if decisions is not None:
                write_json(run / f"decisions-{config.split}.json", decisions.to_dict())
        finally:  # what was measured is shown, whether it can be kept or not
            print(report.table(), *([] if decisions is None else [decisions.table()]), sep="\n")


def _scores_of(blend: Blend, documents: Split, name: str, k: int) -> dict[str, TopK]:
    """What other tools have ranked for a blend, of the documents of that split."""
    depth = max(k, DEPTH) + most_left_out(documents.filter)
    given = {}
    for member, of_tool in ((m.name, m.ranker) for m in blend.members if isinstance(m.ranker, ScoreFiles)):
        if name not in of_tool.files:
            raise XMCError(
                f"the blend has no scores of {member} for {name}; blend anew with scores.{member}.{name}=..."
            )
        given[member] = of_tool.scaled(read_scores(of_tool.files[name], documents.ids, blend.label_ids, depth))
    return given


def calibrate_run(config: CalibrateConfig, trained: TrainConfig) -> None:
    """Fit a run's probabilities and thresholds to its dev split, into the model's card and `<run>/calibration.json`."""
    run = Path(config.run)
    build.model_folder(run)
    device = build.prepare_machine(config.device, config.threads)
    with held(run):
        model = load_model(run, device)
        corpus = corpus_of(model, trained).over(model.label_ids, model.label_names)  # others have no threshold
        if "dev" not in corpus.splits:
            raise XMCError(f"{run} has no dev split (data.dev_fraction=0) to calibrate on; train a model with one")
        dev = corpus.split("dev")
        batches = build.build_batches(trained, corpus, "dev", model.encoder, config.batch_size)
        with half_for("dev", model, run):
            top = rank(model, batches.by_length(), config.k, dev.filter)
        fitted = calibrate(
            model,
            Lists.of(top, dev),
            trained.metrics.ks,
            precision=config.precision,
            per_label=config.per_label,
            min_positives=config.min_positives,
        )
        model.calibration = fitted.calibration
        figures = run / "calibration.json"
        figures.unlink(missing_ok=True)  # they never tell of another calibration than the card holds
        model.save_card(run / "model")
        write_json(figures, fitted.to_dict())
    print(fitted.table())


def measure(model: XMCModel, batches: Batches, corpus: Corpus, split: str, metrics: Metrics) -> Report:
    """Every metric of a model on a split, without the pairs that the split's filter leaves out."""
    top = rank(model, batches.by_length(), max(metrics.ks), corpus.split(split).filter)
    return report_of(top, corpus, split, metrics)


def report_of(top: TopK, corpus: Corpus, split: str, metrics: Metrics) -> Report:
    documents = corpus.split(split)
    return evaluate(
        top.labels.numpy(),
        documents.labels,
        train_counts=corpus.label_counts("train"),
        num_train=len(corpus.split("train")),
        ks=metrics.ks,
        A=metrics.propensity_a,
        B=metrics.propensity_b,
        filter=documents.filter_pairs,
    )
