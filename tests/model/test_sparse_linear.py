from typing import Literal

import pytest
import torch
from torch import nn

from xmc.model.sparse_linear import SparseLinear
from xmc.ops.fan_in.impl import fused_cpu
from xmc.sparsity.rigl import RigL
from xmc.sparsity.topology import absent_columns, init_index
from xmc.train.optim import Optimizers, SlotAdamW

INPUTS, OUTPUTS, FAN_IN = 12, 7, 4


def layer() -> SparseLinear:
    sparse = SparseLinear(INPUTS, init_index(OUTPUTS, FAN_IN, INPUTS, 0), generator=torch.Generator().manual_seed(0))
    nn.init.normal_(sparse.bias)
    return sparse


def dense_twin(sparse: SparseLinear) -> nn.Linear:
    dense = nn.Linear(INPUTS, OUTPUTS)
    with torch.no_grad():
        dense.weight.zero_().scatter_(1, sparse.index.long(), sparse.weight)
        dense.bias.copy_(sparse.bias)
    return dense


@pytest.mark.parametrize("shape", [(3,), (2, 5), (5, 9)])
def test_it_is_a_linear_layer_with_holes(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_cpu, "_TILE_BYTES", 1)  # the least tile, 16 rows
    sparse, inputs = layer(), torch.randn(*shape, INPUTS)
    inputs.requires_grad_()
    dense, own = dense_twin(sparse), inputs.detach().clone().requires_grad_()
    (sparse(inputs) ** 2).sum().backward()
    (dense(own) ** 2).sum().backward()
    torch.testing.assert_close(sparse(inputs), dense(own))
    torch.testing.assert_close(inputs.grad, own.grad)
    assert dense.weight.grad is not None
    torch.testing.assert_close(sparse.weight.grad, dense.weight.grad.gather(1, sparse.index.long()))
    torch.testing.assert_close(sparse.bias.grad, dense.bias.grad)


def test_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"inputs: expected \[\.\.\., 12\], got \(12, 6\)"):
        layer()(torch.zeros(INPUTS, 6))


def test_recorded_evidence_gives_the_dense_gradient_over_all_passes() -> None:
    sparse = layer()
    dense = dense_twin(sparse)
    batches = [torch.randn(2, 3, INPUTS), torch.randn(4, INPUTS)]
    (sparse(batches[0]) ** 3).sum().backward()  # not recorded
    sparse.watch()
    for batch in batches:
        (sparse(batch) ** 3).sum().backward()
        (dense(batch) ** 3).sum().backward()
    with torch.no_grad():
        sparse(batches[0])
    evidence = sparse.take_evidence()
    assert dense.weight.grad is not None
    torch.testing.assert_close(sparse.dense_gradient(evidence, slice(2, 5)), dense.weight.grad[2:5])
    columns = init_index(OUTPUTS, 3, INPUTS, 5)
    torch.testing.assert_close(sparse.gradient_at(evidence, columns), dense.weight.grad.gather(1, columns.long()))


@pytest.mark.parametrize("candidates", ["all", "sample"])
def test_rigl_grows_by_the_dense_gradient(candidates: Literal["all", "sample"]) -> None:
    sparse, strategy = layer(), RigL(0.5, 10, 10**6, seed=0, candidates=candidates)
    optimizer = SlotAdamW([sparse.weight], lr=0.1)
    sparse.watch()
    (sparse(torch.randn(9, INPUTS)) ** 2).sum().backward()
    evidence, before = sparse.take_evidence(), sparse.index.clone()
    strategy.observe(evidence)
    kept = torch.zeros(OUTPUTS, INPUTS, dtype=torch.bool)
    kept.scatter_(1, before.long().gather(1, sparse.weight.abs().topk(FAN_IN - 2, dim=1).indices), True)
    among = kept
    if candidates == "sample":
        sample = absent_columns(before, FAN_IN, INPUTS, seed=0, step=10).long()
        among = torch.ones_like(kept).scatter_(1, sample, False)
    wanted = sparse.dense_gradient(evidence, slice(0, OUTPUTS)).abs().masked_fill(among, -1).topk(2, dim=1).indices
    strategy.rewire(sparse, Optimizers(weights=optimizer), 10)
    for row, columns in enumerate(wanted.tolist()):
        assert set(columns) | set(kept[row].nonzero().flatten().tolist()) == set(sparse.index[row].tolist())
