from itertools import pairwise

import pytest
import torch
from ops.cases import make_positives, naive_loss
from torch import nn

from xmc.model.classifier import FixedFanIn
from xmc.model.dense import Dense
from xmc.model.evidence import batch_of
from xmc.model.head_and_tail import HeadAndTail, most_frequent_first
from xmc.ops.fan_in import resolve_backend
from xmc.sparsity.topology import init_index
from xmc.types import Positives
from xmc.values import LossName

L, D, K, B, HEAD = 11, 8, 3, 4, 4
ORDER = torch.tensor([7, 2, 10, 0, 1, 3, 4, 5, 6, 8, 9])


def classifier() -> HeadAndTail:
    generator = torch.Generator().manual_seed(0)
    backend = resolve_backend("cpu")[0]
    tail = FixedFanIn(D, init_index(L - HEAD, K, D, 0), backend=backend, generator=generator)
    layer = HeadAndTail(Dense(D, HEAD, generator=generator), tail, ORDER)
    layer.init_bias(torch.arange(L), 20, "bce")
    return layer


def batch() -> tuple[torch.Tensor, Positives]:
    features = torch.randn(B, D, generator=torch.Generator().manual_seed(1))
    return features, make_positives([[0, 10], [3], [], [2, 5, 7]])


def logits(layer: HeadAndTail, features: torch.Tensor) -> torch.Tensor:
    """[B, L] in the caller's order of labels."""
    tail = torch.zeros(L - HEAD, D).scatter(1, layer.tail.index.long(), layer.tail.weight)
    weight, bias = torch.cat([layer.head.weight, tail]), torch.cat([layer.head.bias, layer.tail.bias])
    ours = features @ weight.T + bias
    return torch.zeros_like(ours).index_copy(1, ORDER, ours)


@pytest.mark.parametrize("loss", ["bce", "squared_hinge"])
@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_a_step_is_that_of_all_labels(loss: LossName, scale: float) -> None:
    layer, (features, positives) = classifier(), batch()
    features.requires_grad_()
    expected = naive_loss(logits(layer, features), positives, loss)
    parameters = [layer.head.weight, layer.head.bias, layer.tail.weight, layer.tail.bias]
    gradients = torch.autograd.grad(expected, [features, *parameters])
    total, grad_features = layer.step(features.detach(), positives, loss, scale)
    torch.testing.assert_close(total, expected.detach())
    torch.testing.assert_close(grad_features, scale * gradients[0])
    for parameter, gradient in zip(parameters, gradients[1:], strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, scale * gradient)


def test_the_best_of_both_are_ranked_together() -> None:
    layer, (features, _) = classifier(), batch()
    for k in (1, 5, L):
        best, (scores, labels) = layer.topk(features, k), logits(layer, features).topk(k)
        assert torch.equal(best.labels, labels)
        torch.testing.assert_close(best.scores, scores.detach())
    assert layer.topk(features, L + 2).labels[:, L:].tolist() == [[-1, -1]] * B


def test_equal_scores_rank_by_label() -> None:
    layer, (features, _) = classifier(), batch()
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    assert layer.topk(features, 5).labels.tolist() == [[0, 1, 2, 3, 4]] * B


def test_bias_starts_at_each_label_s_frequency() -> None:
    layer = classifier()
    p = (torch.arange(L).double() + 0.5) / 21
    bias = torch.cat([layer.head.bias, layer.tail.bias]).double()
    torch.testing.assert_close(torch.sigmoid(bias), p[ORDER], atol=1e-6, rtol=0)


def test_the_sparse_layer_sees_its_own_positives() -> None:
    layer, (features, positives) = classifier(), batch()
    layer.sparse.watch()
    layer.step(features, positives, "bce")
    _, seen, _ = batch_of(layer.sparse.take_evidence())
    documents = [seen.labels[first:last].tolist() for first, last in pairwise(seen.offsets.tolist())]
    assert [[int(ORDER[HEAD + label]) for label in row] for row in documents] == [[], [3], [], [5]]
    assert layer.sparse is layer.tail


def test_most_frequent_first() -> None:
    assert most_frequent_first(torch.tensor([3, 9, 3, 0])).tolist() == [1, 0, 2, 3]
