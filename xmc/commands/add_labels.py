"""`xmc add-labels`: new labels for a trained model, from a few examples."""

import logging
from pathlib import Path

from xmc.commands.command import Command, Given
from xmc.config import OnError, RunData, Section, load_config_if_run
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.storage import locked
from xmc.values import Count, NonNegative, Positive, Seed, Size, Text, Texts, Threads

logger = logging.getLogger(__name__)


class AddLabelsConfig(Section):
    """names: file of the new labels' names; null: each is called by its id. negatives: of the run's training data."""

    run: Text
    input: Text
    output: Text
    names: Text | None
    text_fields: Texts | None
    text_separator: str | None
    label_field: str | None
    label_separator: Text | None
    on_error: OnError
    data: RunData
    negatives: Size
    steps: Count
    batch_size: Count
    lr: Positive
    weight_decay: NonNegative
    seed: Seed
    device: str
    threads: Threads | None


def run(config: AddLabelsConfig, _: Given) -> None:
    """Save a model with the new labels beside its own, whose rows keep their bits."""
    with undisturbed():
        from xmc import build
        from xmc.data import read_examples, read_labels_tsv
        from xmc.train.new_rows import Recipe
        from xmc.workflow.new_labels import with_new_labels
        from xmc.workflow.run_folder import save_model

    trained = load_config_if_run(config.run, config.data)
    output = Path(config.output)
    with locked(output.absolute().parent, name=f"{output.name}.lock"):
        if output.exists():
            raise XMCError(f"{output} exists already; choose another folder with output=..., or delete it")
        device = build.prepare_machine(config.device, config.threads)
        model = build.load_source(config.run).to(device)
        if not model.encoder.reads_text:
            raise XMCError(
                f"{config.run} reads sparse features, and examples are texts; use `xmc finetune` to add its labels"
            )
        fields = build.fields_of(trained).but(
            text=config.text_fields,
            text_separator=config.text_separator,
            label=config.label_field,
            label_separator=config.label_separator,
        )
        examples = list(
            read_examples(
                *(config.input, fields.text, fields.label),
                label_separator=fields.label_separator,
                text_separator=fields.text_separator,
                on_error=config.on_error,
            )
        )
        new = sorted({label for _, labels in examples for label in labels} - set(model.label_ids))
        if not new:
            raise XMCError(f"{config.input} has no label that {config.run} lacks; give examples of new labels")
        names = {} if config.names is None else read_labels_tsv(Path(config.names))
        recipe = Recipe(config.steps, config.batch_size, config.lr, config.weight_decay, config.seed)
        named = {label: names.get(label, label) for label in new}
        model = with_new_labels(model, examples, named, recipe, trained, config.negatives)
        save_model(model, output)
    logger.info("%d labels -> %s", len(model.label_ids), output)


COMMAND = Command(AddLabelsConfig, run)
