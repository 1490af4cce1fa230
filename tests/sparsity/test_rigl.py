import pytest
import torch
from ops.cases import naive_logits, naive_loss, random_layer, random_positives

import xmc.sparsity.gradient_growth
import xmc.sparsity.topology
from xmc.model.classifier import FixedFanIn
from xmc.model.evidence import Evidence, batch_of, evidence_of
from xmc.ops.fan_in import resolve_backend
from xmc.ops.losses import LOSSES
from xmc.sparsity.drop_and_grow import cosine_decay
from xmc.sparsity.rigl import RigL
from xmc.train.optim import Optimizers, SlotAdamW
from xmc.values import LossName

B, L, D, K = 5, 13, 24, 6


def problem(
    seed: int, group_size: int = 1, order: torch.Tensor | None = None, loss: LossName = "bce"
) -> tuple[FixedFanIn, list[Evidence]]:
    features, given, generator = random_layer(B, L, D, K, seed, group_size=group_size, dtype=torch.float32)
    order = torch.arange(L) if group_size > 1 and order is None else order
    backend = resolve_backend("cpu")[0]
    layer = FixedFanIn(D, given.index, backend=backend, generator=generator, order_L=order)
    with torch.no_grad():
        layer.weight.copy_(given.weight)
        layer.bias.copy_(given.bias)
    positives = [random_positives(B, L, 0.3, generator) for _ in range(2)]
    return layer, [evidence_of(features * (i + 1), p, loss) for i, p in enumerate(positives)]


def dense_gradient(layer: FixedFanIn, evidence: Evidence) -> torch.Tensor:
    """By autograd through an L x D matrix, rows in the order of the layer's weight."""
    size = -(-L // len(layer.index))
    full = torch.zeros(L, D).scatter_(1, layer.index.repeat_interleave(size, 0)[:L].long(), layer.weight.detach())
    full.requires_grad_()
    features, positives, loss = batch_of(evidence)
    logits = features @ full.T + layer.bias.detach()
    columns = torch.arange(L) if layer.order is None else layer.order
    unplaced = torch.empty_like(logits)
    unplaced[:, columns] = logits
    naive_loss(unplaced, positives, loss).backward()
    assert full.grad is not None
    assert torch.allclose(logits, naive_logits(features, layer.connections), atol=1e-4)
    return full.grad


def rewired(layer: FixedFanIn, strategy: RigL, evidence: list[Evidence], step: int) -> torch.Tensor:
    """The layer's index before; the layer is rewired."""
    before = layer.index.clone()
    for i, seen in enumerate(evidence):
        if strategy.observes(step - len(evidence) + 1 + i):
            strategy.observe(seen)
    optimizer = SlotAdamW([layer.weight], lr=0.1)
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    strategy.rewire(layer, Optimizers(weights=optimizer), step)
    state = optimizer.state[layer.weight]
    assert torch.equal(state["slot_step"] == 0, layer.weight == 0)
    return before


@pytest.mark.parametrize("loss", ["bce", "squared_hinge"])
@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("batches", [1, 2])
def test_grown_are_the_largest_of_the_dense_gradient(
    loss: LossName, group_size: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xmc.sparsity.gradient_growth, "_BLOCK", 3 * D)  # three rows at a time
    order = torch.randperm(L, generator=torch.Generator().manual_seed(9)) if group_size > 1 else None
    layer, evidence = problem(0, group_size, order, loss)
    strategy = RigL(0.5, 10, 100, seed=0, batches=batches)
    before = rewired(layer, strategy, evidence, 10)  # of two batches seen, one counts or both
    gradient = torch.zeros(L, D)
    again, _ = problem(0, group_size, order, loss)
    again.weight.data.sub_(0.1)  # the step of AdamW in `rewired`
    for seen in evidence[-batches:]:
        gradient += dense_gradient(again, seen)
    size = -(-L // len(before))
    scores = torch.stack([rows.sum(0) for rows in gradient.abs().split(size)])
    dropped = round(cosine_decay(10, 0.5, 100) * K)
    assert 0 < dropped < K
    for g, row in enumerate(before.tolist()):
        magnitude = again.weight.detach().split(size)[g].abs().mean(0)
        slots = set(magnitude.argsort()[:dropped].tolist())
        kept = {column for slot, column in enumerate(row) if slot not in slots}
        absent = [column for column in scores[g].argsort(descending=True).tolist() if column not in kept]
        assert set(layer.index[g].tolist()) == kept | set(absent[:dropped])


def test_a_sample_grows_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, evidence = problem(1)
    asked: list[torch.Tensor] = []
    real = xmc.sparsity.topology.absent_columns
    monkeypatch.setattr(
        xmc.sparsity.topology, "absent_columns", lambda *a, **k: asked.append(real(*a, **k)) or asked[-1]
    )
    before = rewired(layer, RigL(0.5, 10, 100, seed=0, candidates="sample"), evidence[:1], 10)
    again, _ = problem(1)
    again.weight.data.sub_(0.1)
    gradient = dense_gradient(again, evidence[0]).abs()
    (sample,) = asked
    for row in range(L):
        grown = set(layer.index[row].tolist()) - set(before[row].tolist())
        assert not set(sample[row].tolist()) & set(before[row].tolist())
        best = sorted(sample[row].tolist(), key=lambda c: -float(gradient[row, c]))[: len(grown)]
        assert grown == set(best)


def test_what_it_has_seen_outlives_a_checkpoint() -> None:
    (one, evidence), (two, _) = problem(2), problem(2)
    whole, first, second = (RigL(0.5, 10, 100, seed=0, batches=2) for _ in range(3))
    rewired(one, whole, evidence, 10)
    first.observe(evidence[0])
    second.load({name: tensor.clone() for name, tensor in first.tensors().items()})
    rewired(two, second, evidence[1:], 10)
    assert torch.equal(one.index, two.index)


def test_it_looks_only_when_a_rewiring_is_near() -> None:
    strategy = RigL(0.5, 10, 35, seed=0, batches=2)
    assert [step for step in range(1, 60) if strategy.observes(step)] == [9, 10, 19, 20, 29, 30]


@pytest.mark.parametrize("loss", LOSSES)
def test_what_it_has_seen_survives_a_checkpoint(loss: LossName) -> None:
    _, (outer, _) = problem(1, loss=loss)
    first, second = (RigL(0.5, 10, 100, seed=0, batches=2) for _ in range(2))
    for seen in (outer, {"gradient": torch.randn(5, 12)}):
        first.observe(seen)
    kept = {name: tensor.clone() for name, tensor in first.tensors().items()}
    second.load(kept)
    assert second.tensors().keys() == kept.keys() and len(kept) == 5
    assert all(torch.equal(tensor, kept[name]) for name, tensor in second.tensors().items())


@pytest.mark.parametrize("loss", LOSSES)
def test_what_an_older_checkpoint_has_seen_is_read(loss: LossName) -> None:
    (one, evidence), (two, _) = problem(2, loss=loss), problem(2, loss=loss)
    new, old = (RigL(0.5, 10, 100, seed=0) for _ in range(2))
    features, positives, _ = batch_of(evidence[0])
    parts = {"features": features, "offsets": positives.offsets, "labels": positives.labels}
    old.load({f"0.{loss}.{name}": tensor for name, tensor in parts.items()})
    rewired(one, new, evidence[:1], 10)
    rewired(two, old, [], 10)
    assert torch.equal(one.index, two.index)
