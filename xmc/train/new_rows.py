"""Rows of new labels, learned on features that stay as they are."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import AdamW

from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.dense import Dense
from xmc.model.evidence import evidence_of
from xmc.sparsity.gradient_growth import gradient_growth
from xmc.sparsity.topology import init_index, rewire_
from xmc.train.optim import SlotAdamW
from xmc.types import Positives
from xmc.values import LossName


@dataclass(frozen=True, slots=True)
class Recipe:
    """How rows are learned: AdamW, batches of documents, a learning rate that falls linearly from its peak."""

    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    seed: int


def new_rows(
    like: Classifier, features_ND: Tensor, positives: Positives, many: int, loss: LossName, recipe: Recipe
) -> Dense | FixedFanIn:
    """A layer of `many` labels that can join `like`, learned from N documents.

    positives: of each document, among the new labels. A sparse layer connects each label where the gradient of its
    weights, all zero yet, is largest in magnitude: where the mean of its documents differs most from that of all.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    layer: Dense | FixedFanIn
    if (sparse := like.sparse) is None:
        layer = Dense(like.in_features, many, generator=generator)
    else:
        index = init_index(many, sparse.index.shape[1], like.in_features, recipe.seed)
        layer = FixedFanIn(like.in_features, index, backend=sparse.backend, generator=generator)
    layer = layer.to(features_ND.device)
    with torch.no_grad():
        layer.weight.zero_()
    counts = torch.bincount(positives.labels, minlength=many)
    layer.init_bias(counts, len(features_ND), loss)
    if isinstance(layer, FixedFanIn):
        seen = [evidence_of(features_ND[rows], some, loss) for rows, some in _batches(positives, recipe.batch_size)]
        every = torch.full((many,), layer.index.shape[1], device=layer.index.device)
        rewire_(layer.weight, layer.index, every, layer.in_features, gradient_growth(layer, seen))
    _learn(layer, features_ND, positives, loss, recipe, generator)
    return layer


def _learn(
    layer: Dense | FixedFanIn,
    features_ND: Tensor,
    positives: Positives,
    loss: LossName,
    recipe: Recipe,
    generator: torch.Generator,
) -> None:
    kind = SlotAdamW if isinstance(layer, FixedFanIn) else AdamW
    optimizers = [
        kind([layer.weight], lr=recipe.lr, weight_decay=recipe.weight_decay),
        AdamW([layer.bias], lr=recipe.lr, weight_decay=0.0),
    ]
    epochs = (_batches(positives, recipe.batch_size, generator) for _ in itertools.count())
    for step, (rows, some) in enumerate(itertools.islice(itertools.chain.from_iterable(epochs), recipe.steps)):
        layer.step(features_ND[rows], some, loss)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = recipe.lr * (1 - step / recipe.steps)
            optimizer.step()


def _batches(
    positives: Positives, size: int, generator: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Positives]]:
    """Rows of the documents of each batch, shuffled where there is a generator, and their labels."""
    n, device = len(positives), positives.labels.device
    order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
    order = order.to(device)
    documents, by_document = torch.argsort(order)[positives.documents()].sort(stable=True)
    labels = positives.labels[by_document]
    for start in range(0, n, size):
        inside = (documents >= start) & (documents < start + size)
        rows = order[start : start + size]
        yield rows, Positives.of_pairs(documents[inside] - start, labels[inside], len(rows))
