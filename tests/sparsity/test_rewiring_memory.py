"""No strategy holds an L x D tensor on the device, nor a B x L one: 20,000 labels, K = 8, D = 512."""

import pytest
import torch
from ops.cases import Largest

from xmc.model.classifier import FixedFanIn
from xmc.ops.fan_in import resolve_backend
from xmc.sparsity import gradient_growth, topkast
from xmc.sparsity.drop_and_grow import Set
from xmc.sparsity.rigl import RigL
from xmc.sparsity.store import ImplicitStore
from xmc.sparsity.strategy import Strategy
from xmc.sparsity.topkast import TopKast
from xmc.sparsity.topology import init_index
from xmc.train.optim import Optimizers, SlotAdamW
from xmc.types import Positives

L, K, D, B = 20_000, 8, 512, 100

STRATEGIES: dict[str, Strategy] = {
    "set": Set(0.3, 10, 100, seed=0),
    "rigl": RigL(0.3, 10, 100, seed=0),
    "rigl, a sample": RigL(0.3, 10, 100, seed=0, candidates="sample"),
    "topkast": TopKast(ImplicitStore(D, 0.1, 0, torch.float32), 10, 1e-3),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_rewiring_holds_blocks_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_growth, "_BLOCK", 1 << 20)
    monkeypatch.setattr(topkast, "_BLOCK", 1 << 20)
    strategy, slots = STRATEGIES[name], 2 * K if name == "topkast" else K
    generator = torch.Generator().manual_seed(0)
    index = init_index(L, slots, D, 0)
    layer = FixedFanIn(D, index, backend=resolve_backend("cpu")[0], generator=generator, active=K)
    features, positives = torch.randn(B, D, generator=generator), Positives(torch.arange(B + 1), torch.arange(B) * 200)
    optimizer = SlotAdamW([layer.weight], lr=0.1)
    with Largest() as largest:
        strategy.start(layer)
        strategy.prepare(layer, 10, 0.1)
        layer.step(features, positives, "bce")
        optimizer.step()
        if layer.watches:
            strategy.observe(layer.take_evidence())
        assert strategy.rewire(layer, Optimizers(weights=optimizer), 10) > 0
    assert largest.elements < L * D / 6 < B * L, largest.elements
