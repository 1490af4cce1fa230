"""Gradients of a whole step against plain autograd, and gradient caching against one pass."""

import math
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, PretrainedConfig

from xmc.model import XMCModel
from xmc.model.auxiliary import ClusterHead
from xmc.model.bag import EmbeddingBag
from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.dense import Dense
from xmc.model.intermediate import Linear
from xmc.train.state import random_state, set_random_state
from xmc.train.step import clip_gradients, compute_gradients, gradient_norms
from xmc.types import Batch, Positives

B, T, V, D, L = 7, 5, 20, 12, 30


class TinyEncoder(nn.Module):
    """Mean of embeddings, by a bag that keeps its gradient in factors where sparse; stands for any encoder."""

    def __init__(self, sparse: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        config = PretrainedConfig(hidden_size=D, term_dropout=0.0)
        self.table = nn.Embedding(V, D) if not sparse else EmbeddingBag(config, V)
        if isinstance(self.table, EmbeddingBag):
            nn.init.normal_(self.table.table)
            self.table.in_factors = True
        self.linear = nn.Linear(D, D)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, mask: Tensor, values: Tensor | None = None) -> Tensor:
        if isinstance(self.table, EmbeddingBag):
            documents, places = mask.nonzero(as_tuple=True)
            weights = 1 / mask.sum(1)[documents]
            pooled = self.table.embed(documents, ids[documents, places], weights, len(ids))
        else:
            pooled = (self.table(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.dropout(torch.tanh(self.linear(pooled)))


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(V, (B, T), generator=generator)
    mask = (torch.arange(T) < torch.randint(1, T + 1, (B, 1), generator=generator)).long()
    labels = [sorted(set(torch.randint(L, (n,), generator=generator).tolist())) for n in (3, 0, 1, 5, 2, 2, 4)]
    offsets = torch.tensor([0, *(len(row) for row in labels)]).cumsum(0)
    return Batch(
        ids, mask, Positives(offsets, torch.tensor([label for row in labels for label in row])), torch.arange(B)
    )


def make_model(kind: str = "dense", sparse: bool = False, dropout: float = 0.0, width: int = 16) -> XMCModel:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    classifier: Classifier
    if kind == "dense":
        classifier = Dense(width, L, generator=generator)
    else:
        index = torch.stack([torch.randperm(width)[:5] for _ in range(L)]).to(torch.int16)
        classifier = FixedFanIn(width, index, backend="reference", generator=generator)
    names = [str(i) for i in range(L)]
    encoder = cast(nn.Module, TinyEncoder(sparse, dropout))
    return XMCModel(
        encoder,  # type: ignore[arg-type]
        Linear(D, width, "gelu"),
        classifier,
        label_ids=names,
        label_names=names,
        loss="bce",
    )


def make_auxiliary(width: int = 16) -> ClusterHead:
    return ClusterHead(width, torch.arange(L) % 4, generator=torch.Generator().manual_seed(3))


def gradients(*modules: nn.Module) -> dict[str, Tensor]:
    found = {
        f"{i}.{name}": p.grad.clone() if p.grad is not None else torch.zeros_like(p)
        for i, module in enumerate(modules)
        for name, p in module.named_parameters()
    }
    for i, module in enumerate(modules):
        for name, bag in module.named_modules():
            if isinstance(bag, EmbeddingBag):
                assert bag.gradient is not None and bag.table.grad is None
                found[f"{i}.{name}.table"] = bag.gradient.to_sparse(V).to_dense()
    return found


def targets(positives: Positives, size: int) -> Tensor:
    y = torch.zeros(len(positives), size)
    y[positives.documents(), positives.labels] = 1
    return y


@pytest.mark.parametrize("kind", ["dense", "fixed_fan_in"])
@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_gradients_equal_autograd(kind: str, weight: float) -> None:
    batch, model, auxiliary = make_batch(), make_model(kind), make_auxiliary()
    losses = compute_gradients(model, auxiliary, batch, auxiliary_weight=weight)
    ours = gradients(model, auxiliary)

    model.zero_grad()
    auxiliary.zero_grad()
    features = model.features(batch.input_ids, batch.attention_mask)
    classifier = model.classifier
    if isinstance(classifier, FixedFanIn):
        logits = (features[:, classifier.index.long()] * classifier.weight).sum(-1) + classifier.bias
    else:
        logits = features @ classifier.weight.T + classifier.bias
    main = F.binary_cross_entropy_with_logits(logits, targets(batch.positives, L), reduction="sum") / B
    head = auxiliary.classifier
    clusters = F.binary_cross_entropy_with_logits(
        features @ head.weight.T + head.bias, targets(auxiliary.targets(batch.positives), 4), reduction="sum"
    )
    ((1 - weight) * main + weight * clusters / B).backward()
    expected = gradients(model, auxiliary)

    assert losses.main.item() == pytest.approx(main.item(), rel=1e-5)
    assert (losses.auxiliary is None) == (weight == 0)
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("micro", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("sparse", [False, True])
def test_gradient_caching_gives_the_same_gradients(micro: int, sparse: bool) -> None:
    batch = make_batch()
    whole, cached = make_model(sparse=sparse), make_model(sparse=sparse)
    compute_gradients(whole, None, batch, auxiliary_weight=0.0)
    compute_gradients(cached, None, batch, auxiliary_weight=0.0, micro_batch_size=micro)
    expected = gradients(whole)
    for name, value in gradients(cached).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7, msg=name)


def test_both_passes_of_gradient_caching_drop_the_same() -> None:
    """With a linear encoder head and one document a micro-batch, another mask would show in the gradient's zeros."""
    batch, model = make_batch(), make_model(dropout=0.5)
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda *args: seen.append(args[2].detach().clone()))
    torch.manual_seed(5)
    compute_gradients(model, None, batch, auxiliary_weight=0.0, micro_batch_size=3)
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(first) == 3
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    assert any((a == 0).any() for a in first)


def test_random_state_after_a_step_does_not_depend_on_the_second_pass() -> None:
    batch, model = make_batch(), make_model(dropout=0.5)
    torch.manual_seed(5)
    with torch.no_grad():
        for start in range(0, B, 3):
            ids, mask = batch.input_ids[start : start + 3], batch.attention_mask[start : start + 3]
            length = int(mask.sum(1).max())
            model.features(ids[:, :length], mask[:, :length])
    expected = torch.get_rng_state()
    torch.manual_seed(5)
    compute_gradients(model, None, batch, auxiliary_weight=0.0, micro_batch_size=3)
    assert torch.equal(torch.get_rng_state(), expected)


@pytest.mark.parametrize("sparse", [False, True])
def test_clipping(sparse: bool) -> None:
    model = make_model(sparse=sparse)
    compute_gradients(model, None, make_batch(), auxiliary_weight=0.0)
    classifier_gradient = model.classifier.weight.grad.clone()  # type: ignore[union-attr]
    parts = [g for name, g in gradients(model).items() if "classifier" not in name]
    norm = torch.linalg.vector_norm(torch.cat([g.flatten() for g in parts])).item()
    assert clip_gradients(model, norm / 2).item() == pytest.approx(norm, rel=1e-5)
    assert clip_gradients(model, None).item() == pytest.approx(norm / 2, rel=1e-5)
    assert torch.equal(model.classifier.weight.grad, classifier_gradient)  # type: ignore[arg-type]


@pytest.mark.parametrize("sparse", [False, True])
def test_norms_by_layer_make_up_the_whole(sparse: bool) -> None:
    model = make_model(sparse=sparse)
    outcome = compute_gradients(model, None, make_batch(), auxiliary_weight=0.0)
    norms = gradient_norms(model)
    assert {name.split(".")[0] for name in norms} == {"encoder", "intermediate"} and len(norms) >= 3
    assert math.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(
        clip_gradients(model, None).item(), rel=1e-5
    )
    assert outcome.gradient_BD.shape == (B, 16)


def test_frozen_features_need_no_backward() -> None:
    model = make_model()
    model.encoder.requires_grad_(False)
    model.intermediate.requires_grad_(False)
    compute_gradients(model, None, make_batch(), auxiliary_weight=0.0, micro_batch_size=3)
    assert model.classifier.weight.grad is not None
    assert all(p.grad is None for p in model.encoder.parameters())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("autocast", [False, True])
def test_both_passes_of_a_transformer_draw_the_same_masks(device: str, autocast: bool, bert_folder: Path) -> None:
    """Fused attention may choose another kernel where gradients are wanted, and draws inside it."""
    backbone = AutoModel.from_pretrained(bert_folder, attn_implementation="sdpa").to(device).train()
    ids, mask = torch.full((4, 8), 3, device=device), torch.ones(4, 8, dtype=torch.int64, device=device)

    def encode(learns: bool) -> Tensor:
        with torch.set_grad_enabled(learns), torch.autocast(device, torch.bfloat16, enabled=autocast):
            return cast(Tensor, backbone(input_ids=ids, attention_mask=mask).last_hidden_state.detach().float())

    state = random_state(torch.device(device))
    first = encode(learns=False)
    set_random_state(state, torch.device(device))
    torch.testing.assert_close(encode(learns=True), first, rtol=0.02, atol=0.02)
    assert not torch.allclose(encode(learns=True), first, rtol=0.02, atol=0.02), "nothing is dropped here"
