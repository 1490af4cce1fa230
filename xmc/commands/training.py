"""A run, from raw text or from a trained model to its folder."""

import logging
from pathlib import Path

from xmc import build
from xmc.commands.measuring import measure
from xmc.commands.run_folder import check_run_folder, corpus_of, save_model, write_metrics
from xmc.config import FinetuneConfig, TrainConfig, run_config_path
from xmc.data import Corpus
from xmc.evaluate import check_metric_name
from xmc.model import XMCModel
from xmc.model.tensor_file import fill
from xmc.predict import open_output
from xmc.train.checkpoint import Checkpoints
from xmc.train.loop import Validate, train
from xmc.train.state import TrainState

logger = logging.getLogger(__name__)


def train_run(config: TrainConfig, config_yaml: str) -> None:
    """Train from raw text, or from a trained model, to `<run>/model`, or go on where the run was interrupted.

    config_yaml: the resolved configuration, to be kept in the run folder.
    """
    run = Path(config.run)
    check_run_folder(run, config.resume)
    if config.resume and (run / "model").is_dir():
        logger.info("%s is finished, nothing to do; measure it with: xmc evaluate run=%s split=test", run, run)
        return
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
    setup = build.build_training(config, learned, device, source=source, resumed=saved is not None)
    if (idle := build.why_nothing_rewires(config.sparsity, setup.state.sparse, setup.plan.total_steps)) is not None:
        logger.warning(idle)
    if saved is not None:
        setup.state.load(*saved)
        logger.info("resuming after step %d", setup.state.progress.step)
    elif config.resume:
        logger.info("no checkpoint yet; starting with step 1")
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


def _validation(setup: build.Training, corpus: Corpus, config: TrainConfig) -> Validate | None:
    dev_batches = setup.dev_batches
    if dev_batches is None:
        return None
    shown = [f"P@{k}" for k in config.metrics.ks] + [f"PSP@{max(config.metrics.ks)}", config.trainer.metric]

    def validate() -> tuple[float, dict[str, float]]:
        report = measure(setup.state.model, dev_batches, corpus, "dev", config.metrics)
        return report[config.trainer.metric], {name: report[name] for name in shown}

    return validate


def _take_best(state: TrainState, checkpoints: Checkpoints) -> None:
    """Go back to the best model on dev; without dev data, stay with the last."""
    if state.progress.best_step is not None:
        tensors, _ = checkpoints.load_best(state.progress.best_step)
        fill(state.model.state_dict(), tensors["model"])


def _finish(setup: build.Training, model: XMCModel, config: TrainConfig) -> None:
    """Save the run's model, and its figures on dev where there is dev data."""
    run, step = Path(config.run), setup.state.progress.best_step
    save_model(model, run / "model")
    if setup.dev_batches is not None:
        write_metrics(run, "dev", measure(model, setup.dev_batches, corpus_of(model, config), "dev", config.metrics))
    which = "last model" if step is None else f"best model (step {step})"
    logger.info("%s -> %s", which, run / "model")
