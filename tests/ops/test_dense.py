import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops.cases import naive_loss, random_positives

import xmc.ops.dense
from xmc.ops.dense import dense_loss, dense_topk
from xmc.ops.losses import LOSSES
from xmc.values import LossName


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmc.ops.dense, "_BLOCK", 16)


@given(
    loss=st.sampled_from(LOSSES),
    documents=st.integers(1, 6),
    n_labels=st.sampled_from([1, 15, 16, 50]),
    density=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 999),
)
def test_equals_autograd(loss: LossName, documents: int, n_labels: int, density: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    leaves = [
        torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((documents, 7), (n_labels, 7), (n_labels,))
    ]
    positives = random_positives(documents, n_labels, density, generator)
    total = naive_loss(torch.nn.functional.linear(*leaves), positives, loss)
    out = dense_loss(*leaves, positives, loss)
    torch.testing.assert_close(out.loss, total.detach())
    torch.testing.assert_close((out.grad_features, out.grad_weight, out.grad_bias), torch.autograd.grad(total, leaves))


def test_shards_and_topk() -> None:
    generator = torch.Generator().manual_seed(0)
    features, weight, bias = (torch.randn(*s, generator=generator) for s in ((3, 7), (50, 7), (50,)))
    ranked = dense_topk(features, weight, bias, 4, label_offset=100)
    expected = torch.nn.functional.linear(features, weight, bias).topk(4)
    assert torch.equal(ranked.labels, expected.indices + 100)
    torch.testing.assert_close(ranked.scores, expected.values)
    positives = random_positives(3, 50, 0.2, generator)
    whole = dense_loss(features, weight, bias, positives, "bce")
    tail = dense_loss(features, weight[20:], bias[20:], positives, "bce", label_offset=20)
    torch.testing.assert_close(tail.grad_weight, whole.grad_weight[20:])


def test_half_precision_features() -> None:
    features, weight, bias = torch.ones(2, 4, dtype=torch.bfloat16), torch.ones(3, 4), torch.zeros(3)
    out = dense_loss(features, weight, bias, random_positives(2, 3, 0.5, torch.Generator().manual_seed(0)), "bce")
    assert (out.grad_features.dtype, out.grad_weight.dtype) == (torch.bfloat16, torch.float32)
