"""Gradients before the classifier, health and checkpoints of several processes beside those of one."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from in_threads import together
from torch import Tensor, nn
from transformers import PretrainedConfig

from xmc.distributed import ALONE, Processes, Rows, Shard
from xmc.distributed.processes import Group
from xmc.estimate.traffic import traffic
from xmc.model import XMCModel
from xmc.model.auxiliary import ClusterHead
from xmc.model.bag import EmbeddingBag
from xmc.model.classifier import FixedFanIn
from xmc.model.encoder import Encoder
from xmc.model.intermediate import Linear
from xmc.model.sharded import ShardedClassifier
from xmc.sparsity.health import TopologyHealth
from xmc.sparsity.topology import init_index
from xmc.train.checkpoint import Checkpoints
from xmc.train.step import clip_gradients, compute_gradients, own_random_numbers, share_gradients
from xmc.types import Batch, Positives

B, T, V, D, L, K, WIDTH = 7, 5, 20, 12, 30, 4, 16
SIZES = pytest.mark.parametrize("size", [2, 3, 9])  # nine processes for seven documents: two have none


class TableEncoder(nn.Module):
    """Mean of embeddings and a dense layer, beside a parameter that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = EmbeddingBag(PretrainedConfig(hidden_size=D, term_dropout=0.0), V)
        nn.init.normal_(self.bag.table)
        self.bag.in_factors = True
        self.linear = nn.Linear(D, D)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, ids: Tensor, mask: Tensor, values: Tensor | None = None) -> Tensor:
        documents, places = mask.nonzero(as_tuple=True)
        weights = 1 / mask.sum(1)[documents]
        return torch.tanh(self.linear(self.bag.embed(documents, ids[documents, places], weights, len(ids))))


def models(size: int) -> Callable[[Processes], XMCModel]:
    """The same model for each of so many processes."""
    torch.manual_seed(0)
    parts = TableEncoder(), Linear(D, WIDTH, "gelu")
    copies = [copy.deepcopy(parts) for _ in range(size)]

    def model(processes: Processes) -> XMCModel:
        encoder, intermediate = copies[processes.rank]
        shard = processes.shard(L)
        index = init_index(len(shard), K, WIDTH, 0, offset=shard.start)
        generator = torch.Generator().manual_seed(0)
        layer = FixedFanIn(WIDTH, index, backend="reference", generator=generator, shard=shard)
        names = [str(i) for i in range(L)]
        return XMCModel(
            cast(Encoder, encoder),
            intermediate,
            layer if processes.size == 1 else ShardedClassifier(layer, processes, L),
            label_ids=names,
            label_names=names,
            loss="bce",
        )

    return model


def batch(documents: Shard) -> Batch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(V, (B, T), generator=generator)
    mask = (torch.arange(T) < torch.randint(1, T + 1, (B, 1), generator=generator)).long()
    labels = [sorted(set(torch.randint(L, (n,), generator=generator).tolist())) for n in (3, 0, 1, 5, 2, 2, 4)]
    own, rows = labels[documents.rows], documents.rows
    offsets = torch.tensor([0, *map(len, own)]).cumsum(0)
    positives = Positives(offsets, torch.tensor([label for row in own for label in row], dtype=torch.int64))
    return Batch(ids[rows], mask[rows], positives, torch.arange(B)[rows])


def step(model: XMCModel, processes: Processes, micro: int | None = None) -> dict[str, Tensor | None]:
    compute_gradients(model, None, batch(processes.shard(B)), auxiliary_weight=0.0, micro_batch_size=micro)
    share_gradients(model, processes)
    bag = cast(EmbeddingBag, model.encoder.bag)
    assert bag.gradient is not None
    dense = {name: p.grad for name, p in model.named_parameters() if not name.startswith("classifier")}
    return dense | {"table": bag.gradient.to_sparse(V).to_dense(), "norm": clip_gradients(model, 0.5)}


@SIZES
@pytest.mark.parametrize("micro", [None, 2])
def test_gradients_are_those_of_one_process(size: int, micro: int | None) -> None:
    expected = step(models(1)(ALONE), ALONE)
    model = models(size)
    results = together(size, lambda processes: step(model(processes), processes, micro))
    for gradients in results:
        for name, gradient in gradients.items():
            if (wanted := expected[name]) is None:
                assert gradient is None, name
                continue
            torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6, msg=name)
            assert torch.equal(cast(Tensor, gradient), cast(Tensor, results[0][name])), name


def test_dropout_differs_from_process_to_process_and_leaves_one_state() -> None:
    torch.manual_seed(4)
    state, drawn, left = torch.get_rng_state(), [], []
    for rank in (0, 1, 0):
        torch.set_rng_state(state)
        group = Processes()
        group.rank, group.size = rank, 2
        with own_random_numbers(group, torch.device("cpu")):
            drawn.append(torch.rand(5))
        left.append(torch.rand(5))
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(left[0], left[1]) and not torch.equal(left[0], drawn[0])
    torch.set_rng_state(state)
    with own_random_numbers(ALONE, torch.device("cpu")):
        alone = torch.rand(5)
    torch.set_rng_state(state)
    assert torch.equal(alone, torch.rand(5))


@SIZES
def test_the_health_is_that_of_all_rows(size: int) -> None:
    before, after = (init_index(700, K, WIDTH, seed) for seed in (0, 1))
    after[::3] = before[::3]

    def figures(processes: Processes) -> tuple[dict[str, float], dict[str, Tensor]]:
        rows = processes.shard(700).rows
        health = TopologyHealth(before[rows], WIDTH, processes)
        return health.record(after[rows], 5), health.tensors()

    expected, tensors = figures(ALONE)
    for found, kept in together(size, figures):
        assert found == expected
        assert all(torch.equal(kept[name], value) for name, value in tensors.items())


@SIZES
def test_a_checkpoint_is_the_same_whoever_writes_it(size: int, tmp_path: Path) -> None:
    weight, bias = torch.randn(L, K), torch.randn(L)

    def save(processes: Processes) -> None:
        shard = processes.shard(L)
        own = [processes.rows(value[shard.rows]) for value in (weight, bias)]
        model: dict[str, Tensor | Rows] = {"weight": own[0], "bias": own[1], "table": torch.ones(3)}
        folder = tmp_path / str(processes.size)
        checkpoints = Checkpoints(folder, config_hash="abc", keep_last=1, processes=processes)
        for number in (1, 2):
            checkpoints.save(number, {"model": model, "rng": {"cpu": torch.ones(2)}}, {"step": number}, best_step=None)

    together(size, save)
    save(ALONE)

    def content(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    assert content(tmp_path / str(size)) == content(tmp_path / "1")
    tensors, state = Checkpoints(tmp_path / str(size), config_hash="abc", keep_last=1).load_last()
    assert torch.equal(tensors["model"]["weight"], weight) and state["step"] == 2


@pytest.mark.parametrize("auxiliary", [False, True])
def test_a_step_sends_what_is_estimated(auxiliary: bool) -> None:
    """But for small numbers: lengths, the loss, and which parameters have a gradient."""
    size, documents, terms = 2, 3, 4
    model = models(size)
    ids = torch.arange(documents * terms).view(documents, terms)
    positives = Positives(torch.arange(documents + 1) * 2, torch.tensor([0, 20] * documents))
    own = Batch(ids, torch.ones_like(ids), positives, torch.arange(documents))

    def sent(processes: Group) -> int:
        mine, head = model(processes), None
        if auxiliary:
            generator = torch.Generator().manual_seed(0)
            head = ClusterHead(WIDTH, torch.arange(L) // 10, generator=generator, processes=processes)
        before = processes.sent
        compute_gradients(mine, head, own, auxiliary_weight=0.5)
        share_gradients(mine, processes)
        return processes.sent - before

    others = ("classifier", "encoder.bag.table")
    dense = [p for name, p in models(1)(ALONE).named_parameters() if not name.startswith(others)]
    encoder = SimpleNamespace(bag=SimpleNamespace(width=D, term_dropout=0.0), max_length=T)
    config = SimpleNamespace(
        trainer=SimpleNamespace(batch_size=size * documents),
        encoder=encoder,
        auxiliary=SimpleNamespace(clusters_labels=auxiliary),
    )
    of_bag = SimpleNamespace(entries=lambda size, *_: size * terms)
    counts = SimpleNamespace(pairs=4, documents=2, terms=of_bag)
    features = SimpleNamespace(width=WIDTH, dense=sum(p.nbytes for p in dense))
    told = sum(
        part.bytes for part in traffic(cast(Any, config), cast(Any, counts), cast(Any, features), size, on_gpu=False)
    )
    assert together(size, sent) == [told + 8 * (3 + 1 + 4 + 4 * auxiliary) + 4 * len(dense)] * size
