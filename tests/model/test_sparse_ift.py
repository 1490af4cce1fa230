from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from xmc.errors import XMCError
from xmc.model.encoder import Encoder
from xmc.model.huggingface import load_backbone
from xmc.model.intermediate import Linear
from xmc.model.sparse_ift import FAMILIES, Doped, Family, SparseIFT, sparsify_feed_forward_
from xmc.model.sparse_linear import SparseLinear
from xmc.sparsity.topology import init_index

KINDS = list(FAMILIES)
kinds = pytest.mark.parametrize("kind", KINDS)


def index_of(outputs: int, fan_in: int, inputs: int) -> Tensor:
    return init_index(outputs, fan_in, inputs, 0)


def no_index(outputs: int, fan_in: int, inputs: int) -> Tensor:
    """The shape alone, which takes no memory."""
    return torch.zeros(1, 1, dtype=torch.int16).expand(outputs, fan_in)


def macs(module: nn.Module) -> int:
    """Multiply-adds an input row."""
    sparse = sum(m.weight.numel() for m in module.modules() if isinstance(m, SparseLinear))
    return sparse + sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))


@given(
    kind=st.sampled_from(KINDS),
    in_features=st.sampled_from([256, 384, 768, 1024]),
    out_features=st.sampled_from([256, 512, 768, 1000, 2048]),
    sparsity=st.floats(0, 0.95),
    branches=st.integers(1, 20),
)
def test_as_many_multiply_adds_as_the_dense_layer(
    kind: Family, in_features: int, out_features: int, sparsity: float, branches: int
) -> None:
    sparsity = 1 - 1 / branches if kind == "parallel" else sparsity
    with torch.device("meta"):
        layer = FAMILIES[kind](in_features, out_features, sparsity, nn.ReLU(), no_index)
    assert macs(layer) == pytest.approx(in_features * out_features, rel=1e-3)


def test_parallel_wants_whole_branches() -> None:
    layer = FAMILIES["parallel"](24, 16, 0.75, nn.ReLU(), index_of)
    assert [m.active for m in layer.modules() if isinstance(m, SparseLinear)] == [6, 6, 6, 6]
    with pytest.raises(XMCError, match=r"no whole number for 0\.4; take sparse_ift.sparsity=0\.5, 0\.75"):
        FAMILIES["parallel"](24, 16, 0.4, nn.ReLU(), index_of)


@kinds
def test_forms(kind: Family) -> None:
    torch.manual_seed(0)
    layer, z = FAMILIES[kind](24, 16, 0.5, nn.ReLU(), index_of), torch.randn(5, 24)
    matrices = {name: dense(m) for name, m in layer.named_modules() if isinstance(m, SparseLinear)}
    if kind == "wide":
        expected = (z @ matrices["sparse"].T).relu()
        assert layer.out_features == 32
    elif kind == "parallel":
        expected = (z @ matrices["branches.0"].T).relu() + (z @ matrices["branches.1"].T).relu()
    elif kind == "factorized":
        expected = (z @ matrices["first"].T).relu() @ matrices["second"].T
    else:
        assert isinstance(layer, Doped) and layer.up is not None and layer.down is not None
        expected = (z @ matrices["sparse"].T).relu() + z @ layer.down.weight.T @ layer.up.weight.T
    assert layer(z).shape == (5, layer.out_features)
    torch.testing.assert_close(layer(z), expected)


def dense(layer: SparseLinear) -> Tensor:
    return torch.zeros(layer.out_features, layer.in_features).scatter(1, layer.index.long(), layer.weight)


@pytest.mark.parametrize("kind", ["wide", "parallel", "doped"])
def test_at_sparsity_0_every_connection_is_there(kind: Family) -> None:
    layer = FAMILIES[kind](24, 16, 0.0, nn.ReLU(), index_of)
    (sparse,) = (m for m in layer.modules() if isinstance(m, SparseLinear))
    assert layer.out_features == 16 and macs(layer) == 24 * 16
    assert sparse.index.sort(dim=1).values.tolist() == [list(range(24))] * 16


@kinds
def test_a_transformer_at_sparsity_0_is_what_it_was(bert_folder: Path, kind: Family) -> None:
    before, after = (load_backbone(str(bert_folder))[0].eval() for _ in range(2))
    sparsify_feed_forward_(after, SparseIFT(kind, 0.0), index_of)
    assert sum(isinstance(m, SparseLinear) for m in after.modules()) == 4
    ids, mask = torch.tensor([[8, 2, 3, 4, 1], [8, 5, 1, 6, 6]]), torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])
    was, now = (model(input_ids=ids, attention_mask=mask).last_hidden_state for model in (before, after))
    torch.testing.assert_close(now, was)


@kinds
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.8])
def test_a_transformer_costs_the_same(bert_folder: Path, kind: Family, sparsity: float) -> None:
    backbone, _ = load_backbone(str(bert_folder))
    whole = macs(backbone)
    sparsify_feed_forward_(backbone, SparseIFT(kind, sparsity), index_of)
    assert macs(backbone) == pytest.approx(whole, rel=0.02)  # of 16 and 32 features; exact where layers are wide


def test_what_a_transformer_learned_is_kept(bert_folder: Path) -> None:
    backbone, _ = load_backbone(str(bert_folder))
    old = backbone.encoder.layer[0]
    first, second = old.intermediate.dense.weight.detach().clone(), old.output.dense.weight.detach().clone()
    sparsify_feed_forward_(backbone, SparseIFT("wide", 0.5), index_of)
    new = backbone.encoder.layer[0]
    assert torch.equal(dense(new.output.dense)[:, :32], second)
    assert not dense(new.output.dense)[:, 32:].any()
    kept = first.abs().topk(8, dim=1).indices
    largest = torch.zeros_like(first).scatter(1, kept, first.gather(1, kept))
    assert torch.equal(dense(new.intermediate.dense)[:32], largest)


def test_doping_adds_the_best_low_rank_part_of_the_rest(bert_folder: Path) -> None:
    backbone, _ = load_backbone(str(bert_folder))
    whole = backbone.encoder.layer[0].intermediate.dense.weight.detach().clone()
    sparsify_feed_forward_(backbone, SparseIFT("doped", 0.5), index_of)
    layer = backbone.encoder.layer[0].intermediate.dense
    rest = whole - dense(layer.sparse)
    values = torch.linalg.svdvals(rest)
    missing = rest - layer.up.weight @ layer.down.weight
    torch.testing.assert_close(missing.square().sum(), values[layer.down.out_features :].square().sum())


def test_models_without_such_blocks_are_refused(bert_folder: Path) -> None:
    backbone, _ = load_backbone(str(bert_folder))
    backbone.config.intermediate_size = 99
    with pytest.raises(XMCError, match=r"no feed-forward blocks of 16 and 99 .*layers=\[intermediate\]"):
        sparsify_feed_forward_(backbone, SparseIFT("wide", 0.5), index_of)
    backbone.config.intermediate_size = 32
    backbone.encoder.layer[0].intermediate.dense = nn.Linear(16, 64)  # gated: two matrices in one
    with pytest.raises(XMCError, match="no feed-forward blocks of 16 and 32"):
        sparsify_feed_forward_(backbone, SparseIFT("wide", 0.5), index_of)


@kinds
def test_encoder_round_trip(bert_folder: Path, tmp_path: Path, kind: Family) -> None:
    backbone, tokenizer = load_backbone(str(bert_folder))
    transformation = SparseIFT(kind, 0.5)
    sparsify_feed_forward_(backbone, transformation, index_of)
    encoder = Encoder(backbone, tokenizer, pooling="mean", max_length=8, transformation=transformation).eval()
    encoder.save_pretrained(tmp_path)
    again = Encoder.from_pretrained(tmp_path).eval()
    ids, mask = torch.tensor([[8, 2, 3, 4, 1]]), torch.ones(1, 5, dtype=torch.int64)
    assert again.transformation == transformation
    assert torch.equal(again(ids, mask), encoder(ids, mask))


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_intermediate_width(kind: Family | None) -> None:
    transformation = None if kind is None else SparseIFT(kind, 0.5)
    layer = Linear(8, 6, "relu", transformation=transformation, index_of=index_of)
    assert layer(torch.randn(3, 8)).shape == (3, layer.width)
    assert layer.width == (12 if kind == "wide" else 6)
