"""New labels from a few examples: their rows alone are learned, on the features of a model that stays as it is."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xmc import build
from xmc.config import AddLabelsConfig, TrainConfig
from xmc.data import read_examples, read_labels_tsv
from xmc.model import XMCModel
from xmc.model.label_space import joined
from xmc.train.new_rows import Recipe, new_rows
from xmc.types import Positives, XMCError

logger = logging.getLogger(__name__)


def add_labels_to(model: XMCModel, config: AddLabelsConfig, trained: TrainConfig | None) -> XMCModel:
    """The model with the labels of the examples that it lacks, behind its own, whose rows keep their bits.

    A label's positives are the documents given for it; its negatives are the others and, where there is the run's
    data (`trained`), a sample of its training documents.

    Raises:
        XMCError: the examples cannot be read, or have no new label.
    """
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
            config.input,
            fields.text,
            fields.label,
            label_separator=fields.label_separator,
            text_separator=fields.text_separator,
            on_error=config.on_error,
        )
    )
    new = sorted({label for _, labels in examples for label in labels} - set(model.label_ids))
    if not new:
        raise XMCError(f"{config.input} has no label that {config.run} lacks; give examples of new labels")
    texts = [text for text, _ in examples]
    features = model.encode(texts, config.batch_size)
    if trained is not None and config.negatives:
        features = torch.cat([features, _sample(config, trained, model, set(texts))])
    place = {label: number for number, label in enumerate(new)}
    pairs = sorted({(row, place[la]) for row, (_, labels) in enumerate(examples) for la in labels if la in place})
    documents, labels = torch.tensor(pairs).T
    positives = Positives.of_pairs(documents, labels, len(features)).to(model.device)
    logger.info(
        "%d new labels, %d examples, %d negatives of the run's data",
        *(len(new), len(examples), len(features) - len(examples)),
    )
    recipe = Recipe(config.steps, config.batch_size, config.lr, config.weight_decay, config.seed)
    rows = new_rows(model.classifier, features, positives, len(new), model.loss, recipe)
    counts = torch.bincount(positives.labels, minlength=len(new))
    rows.adjust_logits(counts, len(features), model.logit_adjustment)
    rows = rows.to(next(model.classifier.parameters()).dtype)
    names = {} if config.names is None else read_labels_tsv(Path(config.names))
    return XMCModel(
        model.encoder,
        model.intermediate,
        joined(model.classifier, rows),
        label_ids=[*model.label_ids, *new],
        label_names=[*model.label_names, *(names.get(label, label) for label in new)],
        loss=model.loss,
        calibration=model.calibration and model.calibration.with_more(len(new)),
        logit_adjustment=model.logit_adjustment,
        lexical=model.lexical,
    )


@torch.no_grad()
def _sample(config: AddLabelsConfig, trained: TrainConfig, model: XMCModel, examples: set[str]) -> Tensor:
    """Features of some training documents of the run, other than the examples; none where its data is gone."""
    try:
        corpus = build.load_corpus(trained)
    except XMCError as error:
        logger.warning("the run's data is not at hand, so that the negatives are the examples alone: %s", error)
        return torch.empty(0, model.classifier.in_features, device=model.device)
    texts = corpus.split("train").texts
    chosen = np.random.default_rng(config.seed).permutation(len(texts))[: config.negatives].tolist()
    rows = np.array(sorted(row for row in chosen if texts[row] not in examples))
    batches = build.build_batches(trained, corpus, "train", model.encoder, config.batch_size)
    sampled = (batch.to(model.device) for batch in batches.by_length(among=rows))
    return torch.cat([model.features(batch.input_ids, batch.attention_mask, batch.values) for batch in sampled])
