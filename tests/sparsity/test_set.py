from dataclasses import dataclass, field

import pytest
import torch

from xmc.sparsity.drop_and_grow import Set, cosine_decay
from xmc.sparsity.static import Static
from xmc.sparsity.topology import init_index


@dataclass
class TinyLayer:
    weight: torch.Tensor
    index: torch.Tensor
    in_features: int


@dataclass
class Resets:
    """Records what a strategy asks of the optimizer."""

    slots: list[torch.Tensor] = field(default_factory=list)

    def reset(self, parameter: torch.Tensor, slots: torch.Tensor) -> None:
        self.slots.append(slots)


def layer(in_features: int = 40) -> TinyLayer:
    weight = torch.randn(9, 10, generator=torch.Generator().manual_seed(0))
    return TinyLayer(weight, init_index(9, 10, in_features, 0), in_features)


def test_due_at_every_interval_before_the_end() -> None:
    strategy = Set(0.2, interval=10, end=66, seed=0)
    assert [step for step in range(200) if strategy.due(step)] == [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("step, dropped_per_row", [(0, 4), (50, 2), (100, 0), (150, 0)])
def test_fraction_follows_the_cosine(step: int, dropped_per_row: int) -> None:
    changed, resets = layer(), Resets()
    before = changed.weight.clone()
    assert Set(0.4, 10, 100, seed=0).rewire(changed, resets, step) == 9 * dropped_per_row
    if dropped_per_row:
        (slots,) = resets.slots
        assert torch.equal(slots, changed.weight == 0) and torch.equal(changed.weight[~slots], before[~slots])
    else:
        assert not resets.slots and torch.equal(changed.weight, before)


def test_threshold_follows_the_cosine_to_its_end() -> None:
    strategy = Set(0.5, 10, 100, seed=0, mode="threshold")
    for step in (0, 50, 99):
        changed = layer()
        expected = int((changed.weight.abs() < cosine_decay(step, 0.5, 100, 1e-4)).sum())
        assert strategy.rewire(changed, Resets(), step) == expected


def test_a_dense_row_is_left_alone() -> None:
    changed, resets = layer(in_features=10), Resets()
    assert Set(0.4, 10, 100, seed=0).rewire(changed, resets, 10) == 0
    assert not resets.slots


def test_static_is_never_due() -> None:
    strategy = Static()
    unchanged = layer()
    before = unchanged.index.clone()
    assert not any(strategy.due(step) for step in range(100))
    assert strategy.rewire(unchanged, Resets(), 10) == 0 and torch.equal(unchanged.index, before)
