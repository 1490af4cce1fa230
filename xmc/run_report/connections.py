"""Which features the labels of a sparse classifier use."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.label_space import sparse_labels
from xmc.ops.blocks import label_slices
from xmc.sparsity.health import gini

POINTS = 24  # of a curve over the features
ROWS, COLUMNS = 96, 192  # of the picture
_LABELS = 1 << 18  # whose columns are counted at a time


@dataclass(frozen=True, slots=True)
class Connections:
    """The topology of a classifier of `labels` sparse labels, in `groups` groups, with `fan_in` of `features` each.

    usage: by bin of label frequency, how many of its labels use a feature, over the mean of all features; features by
    falling use of all labels, in at most `POINTS` runs. random: the same for all labels of a random topology. gini:
    Gini coefficient of the column degrees, by bin. block: int8, the sign of a connection's weight or 0, on at most
    `ROWS` labels by falling frequency and `COLUMNS` features by falling use, both spread evenly. block_counts:
    training documents of its labels.
    """

    labels: int
    groups: int
    features: int
    fan_in: int
    usage: Mapping[str, NDArray[np.float64]]
    random: NDArray[np.float64]
    gini: Mapping[str, float]
    block: NDArray[np.int8]
    block_counts: NDArray[np.int64]


def map_connections(
    classifier: Classifier, train_counts: NDArray[np.int64], bins: NDArray[np.int64], names: tuple[str, ...]
) -> Connections | None:
    """The connections of a classifier's sparse part; None where it has none.

    train_counts: training documents of each label, [L]. bins: the bin of each label, [L]; names: of the bins. Memory is
    O(bins * D + L + one block of labels).
    """
    layer = classifier.sparse
    if layer is None:
        return None
    labels = sparse_labels(classifier).cpu()
    degrees = dict(zip(names, _degrees(layer, torch.from_numpy(bins)[labels], len(names)), strict=True))
    degrees = {"all labels": torch.stack(list(degrees.values())).sum(0)} | degrees
    by_use = degrees["all labels"].argsort(descending=True, stable=True)
    n_groups, fan_in, features = len(layer.index), layer.active, layer.in_features
    expected = binom.isf((np.arange(features) + 0.5) / features, n_groups, fan_in / features)
    counts = torch.from_numpy(train_counts)[labels]
    places = _spread(counts.argsort(descending=True, stable=True), ROWS)
    return Connections(
        labels=layer.num_labels,
        groups=n_groups,
        features=features,
        fan_in=fan_in,
        usage={name: _relative(of[by_use].double().numpy()) for name, of in degrees.items() if of.any()},
        random=_relative(expected),
        gini={name: gini(of) for name, of in degrees.items() if of.any()},
        block=_block(layer, places, _spread(by_use, COLUMNS)),
        block_counts=counts[places].numpy(),
    )


def _degrees(layer: FixedFanIn, bin_of_place: Tensor, n_bins: int) -> list[Tensor]:
    """Labels that use each feature, int64 [D] a bin."""
    degrees = torch.zeros(n_bins * layer.in_features, dtype=torch.int64)
    for labels in label_slices(layer.num_labels, _LABELS):
        columns = layer.connections.columns(labels)[:, : layer.active].cpu().long()
        keys = bin_of_place[labels, None] * layer.in_features + columns
        degrees += torch.bincount(keys.flatten(), minlength=len(degrees))
    return list(degrees.view(n_bins, -1))


def _relative(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of runs of features, over the mean of all."""
    parts = np.array_split(degrees, min(POINTS, len(degrees)))
    return np.array([part.mean() for part in parts]) / degrees.mean()


def _spread(order: Tensor, count: int) -> Tensor:
    return order[torch.linspace(0, len(order) - 1, min(count, len(order))).long()]


def _block(layer: FixedFanIn, places: Tensor, features: Tensor) -> NDArray[np.int8]:
    """Signs of the weights between some labels and some features."""
    rows = layer.index[:, : layer.active].cpu()[places // layer.connections.group_size].long()
    signs = torch.zeros(len(places), layer.in_features, dtype=torch.int8)
    weight = layer.weight.detach()[:, : layer.active].cpu()[places]
    signs.scatter_(1, rows, torch.where(weight < 0, -1, 1).to(torch.int8))
    return signs[:, features].numpy()
