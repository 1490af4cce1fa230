"""A strategy of one's own is two rules."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xmc.model.evidence import Evidence
from xmc.model.sparse_linear import SparseLinear
from xmc.sparsity.drop_and_grow import DropAndGrow
from xmc.sparsity.strategy import SparseLayer
from xmc.sparsity.topology import Growth, init_index, random_growth
from xmc.train.optim import Optimizers, SlotAdamW

INPUTS, OUTPUTS, FAN_IN = 20, 9, 6


class Sensitivity(DropAndGrow):
    """Drops where the loss changes least, |w dL/dw| (SNIP, Lee et al., ICLR 2019), and grows at random."""

    def drop(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> tuple[Tensor, Tensor]:
        counts, weight = super().drop(layer, seen, step)
        return counts, weight * layer.gradient_at(seen[-1], layer.index)

    def grow(self, layer: SparseLayer, seen: Sequence[Evidence], step: int) -> Growth:
        return random_growth(layer.index, layer.in_features, seed=self.seed, step=step)


def test_those_of_the_smallest_score_go() -> None:
    index = init_index(OUTPUTS, FAN_IN, INPUTS, 0)
    layer = SparseLinear(INPUTS, index, generator=torch.Generator().manual_seed(0))
    strategy = Sensitivity(1.0, 10, 20, seed=0, batches=1)
    strategy.prepare(layer, 10, lr=0.1)
    (layer(torch.randn(8, INPUTS, generator=torch.Generator().manual_seed(1))) ** 2).sum().backward()
    assert strategy.observes(10) and not strategy.observes(9)
    strategy.observe(layer.take_evidence())
    assert layer.weight.grad is not None
    ranked = (layer.weight * layer.weight.grad).abs().argsort(dim=1)
    before, weight = layer.index.clone(), layer.weight.detach().clone()
    assert strategy.rewire(layer, Optimizers(weights=SlotAdamW([layer.weight], lr=0.1)), 10) == OUTPUTS * 3
    gone = torch.zeros(OUTPUTS, FAN_IN, dtype=torch.bool).scatter_(1, ranked[:, :3], True)
    assert torch.equal(layer.index != before, gone)
    assert torch.equal(layer.weight, weight.masked_fill(gone, 0))
    assert not strategy.tensors()
