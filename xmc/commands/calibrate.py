"""`xmc calibrate`: probabilities and thresholds of a run's model."""

from pathlib import Path

from xmc.commands.command import Command, Given
from xmc.config import RunData, Section, load_run_config
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.values import Count, Cutoff, Fraction, Text, Threads


class CalibrateConfig(Section):
    run: Text
    data: RunData
    k: Cutoff
    precision: Fraction | None
    per_label: bool
    min_positives: Count
    batch_size: Count
    device: str
    threads: Threads | None


def run(config: CalibrateConfig, _: Given) -> None:
    """Fit a run's probabilities and thresholds to its dev split, into the model's card and `<run>/calibration.json`."""
    trained = load_run_config(config.run, config.data)
    with undisturbed():
        from xmc import build
        from xmc.workflow.calibrating import Lists, calibrate
        from xmc.workflow.predicting import rank
        from xmc.workflow.run_folder import corpus_of, half_for, held, load_model, write_json

    folder = Path(config.run)
    build.model_folder(folder)
    device = build.prepare_machine(config.device, config.threads)
    with held(folder):
        model = load_model(folder, device)
        corpus = corpus_of(model, trained).over(model.label_ids, model.label_names)  # others have no threshold
        if "dev" not in corpus.splits:
            raise XMCError(f"{folder} has no dev split (data.dev_fraction=0) to calibrate on; train a model with one")
        dev = corpus.split("dev")
        batches = build.build_batches(trained, corpus, "dev", model.encoder, config.batch_size)
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


COMMAND = Command(CalibrateConfig, run)
