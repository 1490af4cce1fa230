import pytest
import torch
from ops.cases import make_positives

from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.dense import Dense
from xmc.model.evidence import batch_of
from xmc.model.head_and_tail import HeadAndTail, most_frequent_first
from xmc.ops.fan_in import resolve_backend
from xmc.sparsity.topology import init_index
from xmc.train.optim import InPlaceSGD
from xmc.types import InPlaceUpdate, Positives

BACKEND = resolve_backend("cpu")[0]
L, D, K, B = 11, 8, 3, 4


def classifier(order: torch.Tensor | None = None, group_size: int = 1) -> FixedFanIn:
    index = init_index(-(-L // group_size), K, D, 0)
    return FixedFanIn(D, index, backend=BACKEND, generator=torch.Generator().manual_seed(0), order_L=order)


def batch() -> tuple[torch.Tensor, Positives]:
    features = torch.randn(B, D, generator=torch.Generator().manual_seed(1))
    return features, make_positives([[0, 10], [3], [], [2, 5, 7]])


def test_an_order_of_the_labels_does_not_show() -> None:
    """Groups of one in another order are the plain classifier with its rows permuted."""
    order = torch.randperm(L, generator=torch.Generator().manual_seed(2))
    plain, turned = classifier(), classifier(order)
    with torch.no_grad():
        plain.weight[order], plain.index[order] = turned.weight.clone(), turned.index.clone()
    counts = torch.arange(L)
    plain.init_bias(counts, 20, "bce")
    turned.init_bias(counts, 20, "bce")
    features, positives = batch()
    for ours, theirs in zip(
        turned.step(features, positives, "bce"), plain.step(features, positives, "bce"), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    assert plain.weight.grad is not None and turned.weight.grad is not None
    torch.testing.assert_close(turned.weight.grad, plain.weight.grad[order])
    ours, theirs = turned.topk(features, 5), plain.topk(features, 5)
    assert torch.equal(ours.labels, theirs.labels)
    torch.testing.assert_close(ours.scores, theirs.scores)
    assert turned.topk(features, L + 1).labels[:, -1].tolist() == [-1] * B


@pytest.mark.parametrize("scale", [1.0, 0.4])
@pytest.mark.parametrize("group_size", [1, 4])
def test_a_step_in_place_is_the_gradient_applied(scale: float, group_size: int) -> None:
    order = torch.arange(L).flip(0) if group_size > 1 else None
    ours, theirs = classifier(order, group_size), classifier(order, group_size)
    features, positives = batch()
    update = InPlaceUpdate(0.5, 0.1, seed=0, step=0)
    loss, grad_features = ours.step(features, positives, "bce", scale, update)
    expected_loss, expected_grad_features = theirs.step(features, positives, "bce", scale)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(grad_features, expected_grad_features)
    assert ours.weight.grad is None and theirs.weight.grad is not None and theirs.bias.grad is not None
    torch.testing.assert_close(ours.weight, (1 - 0.05) * theirs.weight - 0.5 * theirs.weight.grad)
    torch.testing.assert_close(ours.bias, theirs.bias - 0.5 * theirs.bias.grad)


@pytest.mark.parametrize("update", [None, InPlaceUpdate(0.5, 0.1, seed=0, step=0)])
def test_evidence_is_that_of_the_watched_batch_and_given_once(update: InPlaceUpdate | None) -> None:
    layer, (features, positives) = classifier(), batch()
    layer.watch()
    layer.step(features, positives, "squared_hinge", update=update)
    seen, of_documents, loss = batch_of(layer.take_evidence())
    assert torch.equal(seen, features) and torch.equal(of_documents.labels, positives.labels)
    assert torch.equal(of_documents.offsets, positives.offsets) and loss == "squared_hinge"
    layer.step(features, positives, "bce", update=update)
    with pytest.raises(AssertionError, match="no training step since `watch`"):
        layer.take_evidence()


def test_weights_of_bfloat16_learn_in_expectation() -> None:
    """Updates far smaller than the distance of two bfloat16 neighbours add up, and each step rounds anew."""
    index = init_index(L, K, D, 0)
    backend = resolve_backend("cpu", weight_dtype=torch.bfloat16)[0]
    half, full = (
        FixedFanIn(D, index, backend=backend, generator=torch.Generator().manual_seed(0), dtype=dtype)
        for dtype in (torch.bfloat16, torch.float32)
    )
    with torch.no_grad():
        full.weight.copy_(half.weight.fill_(1.0))
    features, positives = batch()
    steps = 400
    for layer in (half, full):
        optimizer = InPlaceSGD([layer.weight, layer.bias], lr=1e-3, seed=5)
        for _ in range(steps):
            layer.step(features, positives, "bce", update=optimizer.update())
            optimizer.step()
    assert half.weight.dtype == torch.bfloat16
    moved, wanted = 1 - half.weight.float().mean(), 1 - full.weight.mean()
    torch.testing.assert_close(moved, wanted, rtol=0.15, atol=0.0)
    largest = (1 - full.weight).abs().max() / steps
    assert largest < 2**-9  # rounding to nearest would never have moved a weight


COUNTS, N = torch.tensor([0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55]), 60


def adjustable(kind: str) -> Classifier:
    generator = torch.Generator().manual_seed(0)
    match kind:
        case "dense":
            return Dense(D, L, generator=generator)
        case "head and tail":
            tail = FixedFanIn(D, init_index(L - 2, K, D, 0), backend=BACKEND, generator=generator)
            return HeadAndTail(Dense(D, 2, generator=generator), tail, most_frequent_first(COUNTS))
        case "groups":
            return classifier(torch.arange(L).flip(0), 4)
    return classifier()


@pytest.mark.parametrize("kind", ["dense", "fixed fan-in", "groups", "head and tail"])
def test_adjusted_logits_are_ranked_by_and_not_trained_on(kind: str) -> None:
    features, positives = batch()

    def trained(tau: float) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What a step gives, and all scores by label."""
        layer = adjustable(kind)
        layer.adjust_logits(COUNTS, N, tau)
        layer.init_bias(COUNTS, N, "bce")
        outcome = layer.step(features, positives, "bce")
        best = layer.topk(features, L)
        return [*outcome, *(p.grad for p in layer.parameters())], best.scores.gather(1, best.labels.argsort(1))

    (plain_step, plain), (step, adjusted) = trained(0.0), trained(0.3)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(step, plain_step, strict=True))
    torch.testing.assert_close(adjusted, plain - 0.3 * torch.log((COUNTS + 0.5) / (N + 1)))


def test_an_adjustment_can_be_taken_back() -> None:
    layer, (features, _) = adjustable("dense"), batch()
    before = layer.topk(features, L)
    layer.adjust_logits(COUNTS, N, 0.3)
    assert not torch.equal(layer.topk(features, L).scores, before.scores)
    layer.adjust_logits(COUNTS, N, 0.0)
    assert torch.equal(layer.topk(features, L).scores, before.scores)
