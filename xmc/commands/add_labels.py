"""`xmc add-labels`: new labels for a trained model, from a few examples."""

import logging
from pathlib import Path

from pydantic import Field

from xmc.commands.command import Command, Given
from xmc.config import RunData, Section, load_config_if_run
from xmc.data.formats import Fields, OnError
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.storage import locked
from xmc.values import Count, Device, NonNegative, OwnThreads, Positive, Seed, Size, Text, Texts

logger = logging.getLogger(__name__)


class AddLabelsConfig(Section):
    """New labels from a few examples of each; the encoder and all old labels stay as they are."""

    run: Text
    """folder of a run, or of a saved model; the run's training documents make good negatives"""
    input: Text
    """examples: .jsonl, .json, .csv, .tsv, .xlsx or .parquet, plain or compressed"""
    output: Text
    """folder of the new model"""
    names: Text | None = None
    """names of the new labels: a file with the header id<TAB>name; null: each is called by its id"""
    text_fields: Texts | None = None
    """fields to join; null: as in training"""
    text_separator: str | None = None
    """between them; null: as in training"""
    label_field: str | None = None
    """a list, or a text: a list as JSON or Python write it, else split at label_separator; null: as in training"""
    label_separator: Text | None = None
    on_error: OnError = "error"
    """skip: leave out examples that cannot be used, and list them"""
    data: RunData = Field(default_factory=dict)
    negatives: Size = 5000
    """training documents of the run that count as negatives: more are more careful suggestions"""
    steps: Count = 200
    batch_size: Count = 1024
    lr: Positive = 1e-2
    weight_decay: NonNegative = 3.0
    """decoupled, of the new rows"""
    seed: Seed = 0
    device: Device = "auto"
    threads: OwnThreads = None


def run(config: AddLabelsConfig, _: Given) -> None:
    """Save a model with the new labels beside its own, whose rows keep their bits."""
    with undisturbed():
        from xmc import factory
        from xmc.data.documents import read_examples
        from xmc.data.labels import read_labels_tsv
        from xmc.machine import prepare_machine
        from xmc.train.new_rows import Recipe
        from xmc.workflow.new_labels import with_new_labels
        from xmc.workflow.run_folder import save_model

    names = {} if config.names is None else read_labels_tsv(Path(config.names))
    trained = load_config_if_run(config.run, config.data)
    output = Path(config.output)
    with locked(output.absolute().parent, name=f"{output.name}.lock"):
        if output.exists():
            raise XMCError(f"{output} exists already; choose another folder with output=..., or delete it")
        device = prepare_machine(config.device, config.threads)
        model = factory.load_source(config.run).to(device)
        if not model.encoder.reads_text:
            raise XMCError(
                f"{config.run} reads sparse features, and examples are texts; use `xmc finetune` to add its labels"
            )
        fields = (trained.data.fields if trained else Fields()).but(
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
                dialect=fields.dialect,
            )
        )
        new = sorted({label for _, labels in examples for label in labels} - set(model.label_ids))
        if not new:
            raise XMCError(
                f"{config.input} has no label that {config.run} lacks; give examples of new labels; those that it has, "
                f"even without a document, learn more by `xmc finetune from={config.run} ...`"
            )
        recipe = Recipe(config.steps, config.batch_size, config.lr, config.weight_decay, config.seed)
        named = {label: names.get(label, label) for label in new}
        model = with_new_labels(model, examples, named, recipe, trained, config.negatives)
        save_model(model, output)
    logger.info("%d labels -> %s", len(model.label_ids), output)


COMMAND = Command(AddLabelsConfig, run, often=("names", "text_fields", "label_field"))
