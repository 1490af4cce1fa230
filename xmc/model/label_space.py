"""Labels join and leave: classifiers made of the rows of others, whose bits they keep."""

from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from xmc.model.classifier import Classifier, FixedFanIn, LinearClassifier
from xmc.model.dense import Dense
from xmc.model.head_and_tail import HeadAndTail

L = TypeVar("L", bound=LinearClassifier)


@torch.no_grad()
def joined(first: Classifier, second: Classifier) -> Classifier:
    """The labels of `first`, then those of `second`, behind the back end of `first`.

    Both are of one kind, their sparse rows of one width, but a sparse layer may join the tail beside a head.
    """
    if isinstance(first, LinearClassifier) and isinstance(second, LinearClassifier):
        return _stacked([first, second])
    heads, tails, of_heads, of_tails = [], [], [], []
    for classifier, offset in ((first, 0), (second, first.num_labels)):
        if isinstance(classifier, HeadAndTail):
            heads.append(classifier.head)
            of_heads.append(classifier.order[: classifier.head.num_labels] + offset)
        assert classifier.sparse is not None
        tails.append(classifier.sparse)
        of_tails.append(sparse_labels(classifier) + offset)
    return HeadAndTail(_stacked(heads), _stacked(tails), torch.cat(of_heads + of_tails))


@torch.no_grad()
def selected(classifier: Classifier, labels: Tensor) -> Classifier:
    """These labels alone, int64 [n], in this order. Of a head and a tail, one that is left without labels goes."""
    if not isinstance(classifier, HeadAndTail):
        assert isinstance(classifier, LinearClassifier)
        return _rows(classifier, labels)
    first = classifier.head.num_labels
    places = classifier.place[labels]
    in_head = places < first
    if in_head.all() or not in_head.any():
        return _rows(classifier.head, places) if in_head.all() else _rows(classifier.tail, places - first)
    head, tail = _rows(classifier.head, places[in_head]), _rows(classifier.tail, places[~in_head] - first)
    return HeadAndTail(head, tail, torch.cat([in_head.nonzero(), (~in_head).nonzero()]).squeeze(1))


def sparse_labels(classifier: Classifier) -> Tensor:
    """The label of each row of the sparse layer, int64 [l]."""
    layer = classifier.sparse
    assert layer is not None
    own = torch.arange(layer.num_labels, device=layer.weight.device) + layer.label_offset
    if isinstance(classifier, HeadAndTail):
        return classifier.order[classifier.in_head + own]
    return own if layer.order is None else layer.order


def shares_connections(classifier: Classifier) -> bool:
    """Whether groups of labels share a row of the index, so that none can join or leave by itself."""
    layer = classifier.sparse
    return layer is not None and len(layer.index) != layer.num_labels


def _rows(layer: L, rows: Tensor) -> L:
    index = layer.index[rows] if isinstance(layer, FixedFanIn) else None
    adjustment = None if layer.adjustment is None else layer.adjustment[rows]
    return _like(layer, layer.weight[rows], layer.bias[rows], adjustment, index)


def _stacked(layers: Sequence[L]) -> L:
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    indices = [layer.index for layer in layers if isinstance(layer, FixedFanIn)]
    adjustment = None
    if any(layer.adjustment is not None for layer in layers):
        adjustment = torch.cat(
            [torch.zeros_like(layer.bias) if layer.adjustment is None else layer.adjustment for layer in layers]
        )
    return _like(layers[0], weight, bias, adjustment, torch.cat(indices) if indices else None)


def _like(layer: L, weight: Tensor, bias: Tensor, adjustment: Tensor | None, index: Tensor | None) -> L:
    """A layer of the same settings with these rows."""
    width = layer.in_features
    new: LinearClassifier
    if index is None:
        new = Dense(width, len(weight))
    else:
        assert isinstance(layer, FixedFanIn)
        new = FixedFanIn(width, index, backend=layer.backend, dtype=weight.dtype, active=layer.active)
    new.weight, new.bias, new.adjustment = nn.Parameter(weight), nn.Parameter(bias), adjustment
    return cast(L, new)
