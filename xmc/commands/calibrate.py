"""`xmc calibrate`: probabilities and thresholds of a run's model."""

from pathlib import Path

from pydantic import Field

from xmc.commands.command import Command, Given
from xmc.config import RunData, Section, load_run_config
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.values import Count, Cutoff, Device, Fraction, OwnThreads, Text


class CalibrateConfig(Section):
    """Probabilities and thresholds of a run's model, fitted to its dev split and saved with it."""

    run: Text
    """folder of a run"""
    data: RunData = Field(default_factory=dict)
    k: Cutoff = 20
    """best labels of a document that are fitted to, and that can be assigned"""
    precision: Fraction | None = None
    """share of assigned labels that must be right, 0.9 for example; null: the best micro-F1"""
    per_label: bool = False
    """a threshold for each label (best F1, or that precision) instead of one for all"""
    min_positives: Count = 10
    """dev documents that a label needs for a threshold of its own; the others take that for all"""
    batch_size: Count = 256
    device: Device = "auto"
    threads: OwnThreads = None


def run(config: CalibrateConfig, _: Given) -> None:
    """Fit a run's probabilities and thresholds to its dev split, into the model's card and `<run>/calibration.json`."""
    trained = load_run_config(config.run, config.data)
    with undisturbed():
        from xmc import factory
        from xmc.machine import prepare_machine
        from xmc.workflow.calibrating import Lists, calibrate
        from xmc.workflow.predicting import rank
        from xmc.workflow.run_folder import corpus_of, half_for, held, load_model, write_json

    folder = Path(config.run)
    factory.model_folder(folder)
    device = prepare_machine(config.device, config.threads)
    with held(folder):
        model = load_model(folder, device)
        corpus = corpus_of(model, trained).over(model.label_ids, model.label_names)  # others have no threshold
        if "dev" not in corpus.splits:
            raise XMCError(f"{folder} has no dev split (data.dev_fraction=0) to calibrate on; train a model with one")
        dev = corpus.split("dev")
        batches = factory.build_batches(trained, corpus, "dev", model.encoder, config.batch_size)
        with half_for("dev", model, folder):
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
        figures = folder / "calibration.json"
        figures.unlink(missing_ok=True)  # they never tell of another calibration than the card holds
        model.save_card(folder / "model")
        write_json(figures, fitted.to_dict())
    print(fitted.table())


COMMAND = Command(CalibrateConfig, run, often=("precision", "per_label"))
