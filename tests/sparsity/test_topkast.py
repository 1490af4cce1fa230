from pathlib import Path
from typing import Any

import pytest
import torch
from ops.cases import naive_loss, random_positives
from pretend_cuda import CudaTensor, pretend_cuda
from torch.optim import SGD
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import xmc.sparsity.topkast
from xmc.model.classifier import FixedFanIn
from xmc.ops.counter_rng import bell_shaped
from xmc.sparsity.store import HostStore, ImplicitStore, MappedStore, WeightStore
from xmc.sparsity.topkast import TopKast, initial_scale, scale_below
from xmc.sparsity.topology import init_index
from xmc.train.optim import Optimizers, SlotAdamW
from xmc.types import Positives

L, D, K, B = 9, 20, 4, 6
LR, PENALTY, SCALE = 0.5, 0.02, 0.4
KINDS = ["host", "mapped", "implicit"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmc.sparsity.topkast, "_BLOCK", 4 * D)


def make_store(
    kind: str, tmp_path: Path, dtype: torch.dtype = torch.float64, scale: float | torch.Tensor = SCALE
) -> WeightStore:
    if kind == "implicit":
        return ImplicitStore(D, scale, 0, dtype)
    if kind == "mapped":
        return MappedStore(L, D, scale, 0, dtype, tmp_path / "deep" / "store.bin")
    return HostStore(L, D, scale, 0, dtype)


def make_layer(extra: int, dtype: torch.dtype = torch.float64) -> FixedFanIn:
    index = init_index(L, K + extra, D, 0)
    generator = torch.Generator().manual_seed(0)
    layer = FixedFanIn(D, index, backend="reference", generator=generator, dtype=dtype, active=K)
    layer.bias.data = layer.bias.data.to(dtype)
    return layer


def batches(steps: int) -> list[tuple[torch.Tensor, Positives]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(B, D, generator=generator, dtype=torch.float64), random_positives(B, L, 0.2, generator))
        for _ in range(steps)
    ]


class Brute:
    """Dense Top-KAST: L x D weights and two masks."""

    def __init__(self, weight: torch.Tensor, extra: int) -> None:
        self.weight, self.bias, self.extra = weight, torch.zeros(L, dtype=weight.dtype), extra
        self.choose()

    def choose(self) -> None:
        order = self.weight.abs().argsort(dim=1, descending=True, stable=True)
        self.forward = torch.zeros(L, D, dtype=torch.bool).scatter_(1, order[:, :K], True)
        self.backward = torch.zeros(L, D, dtype=torch.bool).scatter_(1, order[:, : K + self.extra], True)

    def step(self, features: torch.Tensor, positives: Positives) -> None:
        self.weight[self.forward] *= 1 - LR * PENALTY
        self.weight[self.backward & ~self.forward] *= 1 - LR * PENALTY * D / K
        spoken = (self.weight * self.forward).requires_grad_()
        bias = self.bias.clone().requires_grad_()
        naive_loss(features @ spoken.T + bias, positives, "bce").backward()
        assert spoken.grad is not None and bias.grad is not None
        self.weight -= LR * spoken.grad * self.backward
        self.bias -= LR * bias.grad


def dense_of(layer: FixedFanIn, store: WeightStore) -> torch.Tensor:
    """All L x D weights, wherever they live."""
    parts = [store.read(slice(start, min(start + 4, L)), torch.device("cpu")) for start in range(0, L, 4)]
    return torch.cat(parts).scatter_(1, layer.index.long(), layer.weight.detach())


def by_column(layer: FixedFanIn, values: torch.Tensor) -> torch.Tensor:
    return torch.zeros(L, D, dtype=values.dtype).scatter_(1, layer.index.long(), values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("refresh", [1, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_brute_force(
    kind: str, refresh: int, ties: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = 5
    if ties:  # magnitudes of few values, and columns that never learn, so that ties last
        real = xmc.sparsity.store.initial_weights
        monkeypatch.setattr(xmc.sparsity.store, "initial_weights", lambda *a: (real(*a) * 3).round() / 3)
    store, layer = make_store(kind, tmp_path), make_layer(extra)
    strategy = TopKast(store, refresh, PENALTY)
    strategy.start(layer)
    brute = Brute(dense_of(layer, store), extra)
    optimizer = SGD([layer.weight, layer.bias], lr=LR)
    changed = 0
    for i, (features, positives) in enumerate(batches(200)):
        if ties:
            features[:, ::2] = 0
        waiting = ~brute.backward
        before = dense_of(layer, store)
        strategy.prepare(layer, i + 1, LR)
        layer.step(features, positives, "bce")
        optimizer.step()
        brute.step(features, positives)
        after = dense_of(layer, store)
        assert torch.equal(after[waiting], before[waiting])
        torch.testing.assert_close(after, brute.weight, rtol=1e-9, atol=1e-11)
        if strategy.due(i + 1):
            changed += strategy.rewire(layer, Optimizers(weights=optimizer), i + 1)
            brute.choose()
            assert torch.equal(dense_of(layer, store), after)
            chosen = torch.zeros(L, D, dtype=torch.bool)
            assert torch.equal(chosen.scatter(1, layer.index[:, :K].long(), True), brute.forward)
            assert torch.equal(chosen.scatter(1, layer.index.long(), True), brute.backward)
    assert changed > 0


def test_the_three_stores_give_identical_models(tmp_path: Path) -> None:
    results = []
    for kind in KINDS:
        store, layer = make_store(kind, tmp_path, torch.float32), make_layer(5, torch.float32)
        strategy, optimizer = TopKast(store, 3, PENALTY), SlotAdamW([layer.weight], lr=0.05)
        strategy.start(layer)
        for i, (features, positives) in enumerate(batches(40)):
            strategy.prepare(layer, i + 1, 0.05)
            layer.step(features.float(), positives, "bce")
            optimizer.step()
            if strategy.due(i + 1):
                strategy.rewire(layer, Optimizers(weights=optimizer), i + 1)
            if i == 20:  # a checkpoint, and on from it
                kept = {name: tensor.clone() for name, tensor in strategy.tensors().items()}
                strategy = TopKast(make_store(kind, tmp_path / "again", torch.float32), 3, PENALTY)
                strategy.load(kept)
        results.append((layer.weight.detach().clone(), layer.index.clone(), optimizer.state[layer.weight]["exp_avg"]))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learned_before_speaks_on(kind: str, tmp_path: Path) -> None:
    layer, learned = make_layer(5), torch.arange(L) % 2 == 0
    with torch.no_grad():
        layer.weight[:, :K] = 0.01 + torch.rand(L, K)
    before = torch.zeros(L, D).scatter_(1, layer.index[:, :K].long(), layer.weight[:, :K].detach().float())
    store = make_store(kind, tmp_path, scale=scale_below(SCALE, layer.weight[:, :K], learned))
    TopKast(store, 1, 0.0).start(layer, learned)
    after = torch.zeros(L, D).scatter_(1, layer.index[:, :K].long(), layer.weight[:, :K].detach().float())
    assert torch.equal(after[learned], before[learned])
    assert not (after[~learned] == before[~learned]).all(1).any()
    magnitude, mine = dense_of(layer, store).abs(), layer.index.long()
    waiting = magnitude.scatter(1, mine, 0).amax(1)
    assert (waiting > 0).all() and (waiting <= magnitude.gather(1, mine).amin(1)).all()


def test_without_exploration_the_mask_is_frozen(tmp_path: Path) -> None:
    """Even where a weight shrinks below one that waits."""
    store, layer = make_store("host", tmp_path), make_layer(0)
    strategy, optimizer = TopKast(store, 1, PENALTY), SGD([layer.weight], lr=LR)
    strategy.start(layer)
    before = layer.index.clone()
    for i, (features, positives) in enumerate(batches(30)):
        strategy.prepare(layer, i + 1, LR)
        layer.step(features, positives, "bce")
        optimizer.step()
        weight = layer.weight.detach().clone()
        assert strategy.rewire(layer, Optimizers(weights=optimizer), i + 1) == 0
        assert torch.equal(layer.index, before) and torch.equal(layer.weight, weight)
    waiting = store.read(slice(0, L), torch.device("cpu")).scatter(1, layer.index.long(), 0).abs()
    assert (layer.weight.abs().min(1).values < waiting.max(1).values).any()


def test_moments_follow_their_connections(tmp_path: Path) -> None:
    store, layer = make_store("host", tmp_path, torch.float32), make_layer(5, torch.float32)
    strategy, optimizer = TopKast(store, 1, 0.0), SlotAdamW([layer.weight], lr=0.3)
    strategy.start(layer)
    fresh = 0
    for i, (features, positives) in enumerate(batches(10)):
        layer.step(features.float(), positives, "bce")
        optimizer.step()
        state = optimizer.state[layer.weight]
        before = {name: by_column(layer, state[name]) for name in ("exp_avg", "exp_avg_sq", "slot_step")}
        had = torch.zeros(L, D, dtype=torch.bool).scatter_(1, layer.index.long(), True)
        strategy.rewire(layer, Optimizers(weights=optimizer), i + 1)
        has = torch.zeros(L, D, dtype=torch.bool).scatter_(1, layer.index.long(), True)
        for name, old in before.items():
            assert torch.equal(by_column(layer, state[name]), old * (had & has))
        fresh += int((has & ~had).sum())
    assert fresh > 0


def test_forward_hears_a_alone(tmp_path: Path) -> None:
    layer = make_layer(5, torch.float32)
    TopKast(make_store("host", tmp_path, torch.float32), 1, 0.0).start(layer)
    features, positives = batches(1)[0]
    first = layer.step(features.float(), positives, "bce")
    best = layer.topk(features.float(), 3)
    with torch.no_grad():
        layer.weight[:, K:] = 1e6
    second = layer.step(features.float(), positives, "bce")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(layer.topk(features.float(), 3).scores, best.scores)


def test_a_penalty_never_turns_a_sign(tmp_path: Path) -> None:
    layer = make_layer(5)
    strategy = TopKast(make_store("host", tmp_path), 1, penalty=0.5)
    strategy.start(layer)
    signs = layer.weight.sign().clone()
    strategy.prepare(layer, 1, lr=1.0)  # 1 - 0.5 * D / K < 0
    assert torch.equal(layer.weight[:, :K].sign(), signs[:, :K])
    assert not layer.weight[:, K:].any()


def test_the_scale_of_the_start() -> None:
    """The enlargement by selection of a normal distribution, 1 + z phi(z) / Q(z), is 4.7 at K = D / 12."""
    bound, n, width = 0.5, 2000, 240
    scale = initial_scale(n, width // 12, width, bound, seed=3)
    weight = bell_shaped(3, torch.arange(n), width) * scale
    chosen = weight.abs().topk(width // 12, dim=1).values
    assert float(chosen.square().mean()) == pytest.approx(bound**2 / 3, rel=0.02)
    assert (bound**2 / 3) / scale**2 == pytest.approx(4.7, rel=0.15)


class OnHost(TorchDispatchMode):
    """The elements of the largest tensor that any operator of the host gives back."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not any(isinstance(tensor, CudaTensor) for tensor in tree_leaves((args, kwargs, out))):
            sizes = (tensor.numel() for tensor in tree_leaves(out) if isinstance(tensor, torch.Tensor))
            self.elements = max(self.elements, *sizes, 0)
        return out


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_the_host_sees_what_moves_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same connections and weights as on the CPU, too."""
    made = []
    for device in ("cpu", "cuda"):
        with pretend_cuda():
            store, layer = make_store(kind, tmp_path / device, torch.float32), make_layer(1, torch.float32).to(device)
            strategy, optimizer = TopKast(store, 1, 0.0), SGD([layer.weight], lr=LR)
            with OnHost() as host:
                strategy.start(layer)
                layer.weight.data *= torch.arange(1, 6, device=device) % 3
                assert strategy.rewire(layer, Optimizers(weights=optimizer), 1) > 0
            rows = 4 * D if device == "cpu" or kind != "implicit" else 4 * (K + 1)
            assert host.elements <= rows
            made.append((layer.weight.detach().cpu(), layer.index.cpu(), *strategy.tensors().values()))
    assert all(torch.equal(here, there) for here, there in zip(*made, strict=True))
