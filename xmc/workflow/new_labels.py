"""New labels from a few examples: their rows alone are learned, on the features of a model that stays as it is."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from xmc import factory
from xmc.config import TrainConfig
from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.label_space import joined
from xmc.train.new_rows import Recipe, new_rows
from xmc.types import Positives

logger = logging.getLogger(__name__)


def with_new_labels(
    model: XMCModel,
    examples: Sequence[tuple[str, Sequence[str]]],
    new: Mapping[str, str],
    recipe: Recipe,
    trained: TrainConfig | None,
    negatives: int,
) -> XMCModel:
    """The model with new labels behind its own, whose rows keep their bits.

    A label's positives are the documents given for it; its negatives are the others and, where there is the run's
    data (`trained`), a sample of its training documents.

    examples: text and labels of each document. new: id and name of each label that the model lacks. negatives: of the
    run's data, at most.
    """
    texts = [text for text, _ in examples]
    features = model.encode(texts, recipe.batch_size)
    if trained is not None and negatives:
        features = torch.cat([features, _sample(model, trained, negatives, set(texts), recipe)])
    place = {label: number for number, label in enumerate(new)}
    pairs = sorted({(row, place[la]) for row, (_, labels) in enumerate(examples) for la in labels if la in place})
    documents, labels = torch.tensor(pairs).T
    positives = Positives.of_pairs(documents, labels, len(features)).to(model.device)
    logger.info(
        "%d new labels, %d examples, %d negatives of the run's data",
        *(len(new), len(examples), len(features) - len(examples)),
    )
    rows = new_rows(model.classifier, features, positives, len(new), model.loss, recipe)
    counts = torch.bincount(positives.labels, minlength=len(new))
    rows.adjust_logits(counts, len(features), model.logit_adjustment)
    rows = rows.to(next(model.classifier.parameters()).dtype)
    return XMCModel(
        model.encoder,
        model.intermediate,
        joined(model.classifier, rows),
        label_ids=[*model.label_ids, *new],
        label_names=[*model.label_names, *new.values()],
        loss=model.loss,
        calibration=model.calibration and model.calibration.with_more(len(new)),
        logit_adjustment=model.logit_adjustment,
        lexical=model.lexical,
        above=model.above,
    )


@torch.no_grad()
def _sample(model: XMCModel, trained: TrainConfig, most: int, examples: set[str], recipe: Recipe) -> Tensor:
    """Features of some training documents of the run, other than the examples; none where its data is gone."""
    try:
        corpus = factory.load_corpus(trained)
    except XMCError as error:
        logger.warning("the run's data is not at hand, so that the negatives are the examples alone: %s", error)
        return torch.empty(0, model.classifier.in_features, device=model.device)
    texts = corpus.split("train").texts
    chosen = np.random.default_rng(recipe.seed).permutation(len(texts))[:most].tolist()
    rows = np.array(sorted(row for row in chosen if texts[row] not in examples))
    batches = factory.build_batches(trained, corpus, "train", model.encoder, recipe.batch_size)
    return torch.cat([model.features_of(batch).float() for batch in batches.by_length(among=rows)])
