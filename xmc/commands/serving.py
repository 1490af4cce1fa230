"""What a finished run is for: labels of new documents, and new labels."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from xmc import build
from xmc.add_labels import add_labels_to
from xmc.commands.run_folder import load_model_or_blend, save_model
from xmc.config import AddLabelsConfig, PredictConfig, TrainConfig
from xmc.data import StreamFilter, read_documents, read_rows
from xmc.model import Blend, XMCModel
from xmc.predict import check_output, predict_documents, write_predictions
from xmc.storage import locked
from xmc.types import XMCError

logger = logging.getLogger(__name__)


def predict_run(config: PredictConfig, trained: TrainConfig | None) -> None:
    """Write the best labels of new documents. trained: as the run was; None of a model without its run."""
    if config.input == "-" and sys.stdin is None:
        raise XMCError("input=-: standard input is closed; give it documents, or a file as input")
    check_output(config.output, config.format, config.input, config.filter)
    device = build.prepare_machine(config.device, config.threads)
    model = load_model_or_blend(Path(config.run), device)
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


def _documents(
    config: PredictConfig, trained: TrainConfig | None, model: XMCModel | Blend
) -> Iterator[tuple[str, str] | XMCError]:
    """Id and text of each document, or its sparse features where the model was trained on these; or its error."""
    source = sys.stdin.buffer if config.input == "-" else config.input
    if not model.encoder.reads_text:
        if config.text_fields:
            raise XMCError(f"text_fields: {config.run} was trained on sparse features, which have none; leave it out")
        return read_rows(source, len(model.encoder.tokenizer), config.on_error)
    given = {"text": config.text_fields, "text_separator": config.text_separator, "id": config.id_field}
    fields = build.fields_of(trained).but(**given)
    return read_documents(source, fields.text, fields.id or None, fields.text_separator, config.on_error)


def add_labels(config: AddLabelsConfig, trained: TrainConfig | None) -> None:
    """Save a model with new labels beside its own. trained: as for `predict_run`."""
    output = Path(config.output)
    with locked(output.absolute().parent, name=f"{output.name}.lock"):
        if output.exists():
            raise XMCError(f"{output} exists already; choose another folder with output=..., or delete it")
        device = build.prepare_machine(config.device, config.threads)
        model = add_labels_to(build.load_source(config.run).to(device), config, trained)
        save_model(model, output)
    logger.info("%d labels -> %s", len(model.label_ids), output)
