"""A run, from raw text or from a trained model to its folder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from xmc import factory
from xmc.config import FinetuneConfig, TrainConfig, load_run_config, run_config_path
from xmc.config.shell import shell_command
from xmc.data.corpus import Corpus
from xmc.distributed import ALONE, Processes
from xmc.errors import XMCError
from xmc.evaluate import check_metric_name
from xmc.machine import prepare_machine
from xmc.model import XMCModel
from xmc.model.classifier import FixedFanIn
from xmc.model.lexical import LexicalHalf
from xmc.model.lexical_file import save_apart
from xmc.model.quantised import round_tables_
from xmc.model.sharded import ShardedClassifier
from xmc.model.tensor_file import fill
from xmc.ops.fan_in import keep_choices
from xmc.storage import is_locked, whole_file, whole_folder
from xmc.train.checkpoint import Checkpoints
from xmc.train.log import LocalLog, Trackers
from xmc.train.loop import Attend, Validate, train
from xmc.train.state import TrainState
from xmc.train.warm_up import warm_up
from xmc.workflow.forgetting import tell_change
from xmc.workflow.measuring import measure
from xmc.workflow.run_folder import (
    WITHOUT_DEV,
    check_run_folder,
    corpus_of,
    held,
    is_finished,
    save_model,
    write_json,
)
from xmc.workflow.stacking import stack_, with_neighbours
from xmc.workflow.telling import tell_changes, tell_opening

logger = logging.getLogger(__name__)

FEW = 20  # dev documents: fewer are told


def train_run(
    config: TrainConfig,
    config_yaml: str,
    attend: Attend | None = None,
    half: LexicalHalf | None = None,
    processes: Processes = ALONE,
) -> None:
    """Train from raw text, or from a trained model, to `<run>/model`, or go on where the run was interrupted.

    config_yaml: the resolved configuration, to be kept in the run folder. attend: may let the run pause with a
    checkpoint, to be resumed; a paused run has no model yet, but figures on dev of what it would save now, if they are
    wanted. half: the lexical half, where it was learned before; it does not learn from dev. processes: that train the
    network together, if `check_divisible` lets them. The first alone writes, and does by itself what follows then.
    """
    run = Path(config.run)
    if config.resume and is_finished(run):
        measure_it = shell_command("evaluate", run=config.run, split="test")
        logger.info("%s is finished, nothing to do; measure it with: %s", run, measure_it)
        return
    check_metric_name(config.trainer.metric, config.metrics.ks)
    config.tracking.check()
    device = prepare_machine(config.trainer.device, config.trainer.threads, processes.local_rank)
    if device.type == "cuda":
        torch.set_float32_matmul_precision(config.trainer.float32_matmul_precision)
    with _held(run, processes):
        if not config.resume:
            check_run_folder(run, "go on with it by resume=true")
        _train(config, config_yaml, device, attend, half, processes)


@contextmanager
def _held(run: Path, processes: Processes) -> Iterator[None]:
    """The run's folder, which the first process holds for all."""
    if processes.is_first:
        with held(run):
            processes.meet()
            yield
        return
    processes.meet()
    if not is_locked(run):
        raise XMCError(
            f"{run} is not one folder for all processes: process {processes.rank} does not see what the first wrote "
            "there; choose one on a file system that all machines share with run=..."
        )
    yield


def _train(
    config: TrainConfig,
    config_yaml: str,
    device: torch.device,
    attend: Attend | None,
    half: LexicalHalf | None,
    processes: Processes,
) -> None:
    run = Path(config.run)
    corpus = factory.load_corpus(config)
    source, keeps = None, False
    if isinstance(config, FinetuneConfig):
        source, keeps = factory.load_source(config.source), config.keep_labels
    learned = factory.learned_part(corpus, source) if source is not None and keeps else corpus
    config_hash = factory.run_fingerprint(_as_it_began(config), corpus)
    checkpoints = Checkpoints(
        run / "checkpoints", config_hash=config_hash, keep_last=config.trainer.keep_last, processes=processes
    )
    if processes.is_first:
        checkpoints.sweep()
    _check_agreement(config_hash, checkpoints.steps(), device, processes)
    saved = checkpoints.load_last() if config.resume and checkpoints.steps() else None
    setup = factory.build_training(
        config, learned, device, source=source, resumed=saved is not None, processes=processes
    )
    if processes.is_first:
        tell_opening(config, learned, setup, device)
    labels = -(-len(learned.label_ids) // processes.size)
    if processes.size > 1:
        logger.info("processes: %d; labels a process: %d", processes.size, labels)
    if (idle := factory.why_nothing_rewires(config.sparsity, setup.state.sparse, setup.plan.total_steps)) is not None:
        logger.warning(idle)
    if "dev" in corpus.splits and (few := len(corpus.split("dev"))) < FEW:
        logger.warning(
            f"dev has {few} documents, so that chance chooses the best model; raise data.dev_fraction or give a larger "
            "dev file, or learn from all and keep the last model with data.dev_fraction=0"
        )
    keep_choices({} if saved is None else saved[1].get("tuned", {}))
    warm_up(setup.state, config.trainer.batch_size)
    if saved is not None:
        setup.state.load(*saved)
        logger.info("resuming after step %d", setup.state.progress.step)
        tell_changes(saved[1], device, processes)
        _keep_backend(setup.state.model.classifier.sparse, saved[1].get("backend"))
    elif config.resume:
        logger.info("no checkpoint yet; starting with step 1")
    tracker = Trackers()
    if processes.is_first:
        remote = config.tracking.start(run, config.model_dump(mode="json"))
        if not config.resume:
            with whole_file(run_config_path(run)) as out:
                out.write(config_yaml)
        local = LocalLog(run / "log.jsonl", resume_step=setup.state.progress.step)
        constants = {"processes": processes.size, "labels_a_process": labels}
        tracker = Trackers(*([local] if remote is None else [local, remote]), constants=constants)
    if config.finish == "now":
        if saved is None:
            raise XMCError(f"{run} has no checkpoint to finish with; train on with resume=true")
        setup.state.progress.finished = True
    try:
        train(
            setup.state,
            setup.batches,
            setup.plan,
            validate=_validation(setup, learned, config),
            checkpoints=checkpoints,
            tracker=tracker,
            attend=attend,
        )
    finally:
        tracker.close()
    finished = setup.state.progress.finished
    if not processes.is_first or (not finished and (attend is None or not attend.ended)):
        return
    _take_best(setup.state, checkpoints)
    setup = setup.by_one_process()
    model = setup.state.model
    _add_half(setup, half, learned, config)
    if not finished:
        _write_figures(setup, model, config)
        return
    if source is not None and keeps:
        model = factory.with_kept_labels(model, source)
    _finish(setup, model, config, learned if half is None else None)


def _as_it_began(config: TrainConfig) -> TrainConfig:
    """The configuration, where it is resumed with the number of threads that the run was started with."""
    if not config.resume:
        return config
    threads = load_run_config(config.run).trainer.threads
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"threads": threads})})


def _check_agreement(config_hash: str, steps: list[int], device: torch.device, processes: Processes) -> None:
    """Raise XMCError where not all processes would train the same run from the same step, or round sums alike."""
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    everyone = processes.all_of(int(config_hash[:15], 16), steps[-1] if steps else 0, threads)
    names = "configuration or data", "last checkpoint of the run", "number of threads"
    alike = [len(set(numbers)) == 1 for numbers in zip(*everyone, strict=True)]
    if other := [name for name, same in zip(names, alike, strict=True) if not same]:
        raise XMCError(
            f"the processes of the job differ in their {' and '.join(other)}; give all machines the same command, the "
            "same files, one folder run=... and trainer.threads=..."
        )


def _keep_backend(layer: FixedFanIn | None, before: str | None) -> None:
    """Go on with the back end of the checkpoint, whatever would be chosen now; None: older checkpoints do not tell."""
    if layer is None or before in (None, now := layer.serving):
        return
    layer.backend = str(before)
    try:
        logger.info("classifier back end: %s, as before", layer.serving)
    except ValueError as error:
        layer.backend = now
        logger.warning(
            "classifier back end: %s until here, %s from now on; the model may differ in its last bits from that of an "
            "uninterrupted run (%s)",
            *(before, now, error),
        )


def _validation(setup: factory.Training, corpus: Corpus, config: TrainConfig) -> Validate | None:
    dev_batches = setup.dev_batches
    if dev_batches is None:
        return None
    shown = [f"P@{k}" for k in config.metrics.ks] + [f"PSP@{max(config.metrics.ks)}", config.trainer.metric]

    def validate() -> tuple[float, dict[str, float]]:
        report = measure(setup.state.model, dev_batches, corpus, "dev", config.metrics, setup.state.processes)
        return report[config.trainer.metric], {name: report[name] for name in shown}

    return validate


def _take_best(state: TrainState, checkpoints: Checkpoints) -> None:
    """Go back to the best model on dev; without dev data, stay with the last. All its labels are then here."""
    model, best = state.model, state.progress.best_step
    if isinstance(model.classifier, ShardedClassifier):
        model.classifier = model.classifier.whole()
    elif best is None:
        return
    tensors, _ = checkpoints.load_last() if best is None else checkpoints.load_best(best)
    fill(model.state_dict(), tensors["model"])


def _add_half(setup: factory.Training, half: LexicalHalf | None, corpus: Corpus, config: TrainConfig) -> None:
    """Put a half, or one that is learned now, into the model as dev wants it."""
    model, dev = setup.state.model, corpus.splits.get("dev")
    half = half or factory.build_lexical_half(config, model.encoder, corpus)
    if half is not None and dev is not None:
        half = with_neighbours(half, model, corpus, config)
    stack_(model, half, setup.dev_batches, config.seed, None if dev is None else dev.filter)


def _finish(setup: factory.Training, model: XMCModel, config: TrainConfig, corpus: Corpus | None) -> None:
    """The run's figures on dev, where there is dev data, and last its model, with which it is finished.

    Its tables are rounded first, as they are saved: the figures are those of the saved model, but for what its lexical
    half then learns from dev. corpus: what it learns from; None: nothing more.
    """
    run, step = Path(config.run), setup.state.progress.best_step
    round_tables_(model)
    _write_figures(setup, model, config)
    if isinstance(config, FinetuneConfig):
        tell_change(config, model)
    if corpus is not None and corpus.dev_was_cut:
        _learn_from_dev(model, corpus, config)
    save_model(model, run / "model")
    which = "last model" if step is None else f"best model (step {step})"
    logger.info("%s -> %s", which, run / "model")


def _learn_from_dev(model: XMCModel, corpus: Corpus, config: TrainConfig) -> None:
    """Learn the lexical half anew from train and what was cut from it, by which nothing is chosen any more.

    The half before stays in the run's folder: whatever is measured on dev is measured with that.
    """
    if (half := model.lexical) is None:
        return
    with whole_folder(Path(config.run) / WITHOUT_DEV) as folder:
        save_apart(half, folder)
    logger.info("lexical half: learning again, from the %d dev documents too", len(corpus.split("dev")))
    corpus, coefficients, voting = corpus.with_cut_dev_in_train(), half.coefficients, half.neighbours is not None
    del half  # so that two are not in memory together
    model.lexical = None
    again = factory.build_lexical_half(config, model.encoder, corpus)
    assert again is not None
    if voting:
        again = with_neighbours(again, model, corpus, config)
    model.lexical = replace(again, coefficients=coefficients, saw_dev=True)


def _write_figures(setup: factory.Training, model: XMCModel, config: TrainConfig) -> None:
    if setup.dev_batches is not None:
        report = measure(model, setup.dev_batches, corpus_of(model, config), "dev", config.metrics)
        write_json(Path(config.run) / "metrics-dev.json", report.to_dict())
