"""A classifier of several processes beside the same one of a single process."""

import pytest
import torch
from in_threads import ThreadGroup, together

from xmc.distributed import Shard
from xmc.model.classifier import Dense, FixedFanIn, LinearClassifier
from xmc.model.sharded import ShardedClassifier, merged
from xmc.ops.fan_in import resolve_backend
from xmc.sparsity.topology import init_index
from xmc.types import InPlaceUpdate, Positives

L, D, K, B = 23, 10, 4, 5
COUNTS = torch.arange(L)
LABELS = [[0, 22], [3, 7, 8], [], [2, 5, 15], [11]]

KINDS = pytest.mark.parametrize("kind", ["dense", "fixed_fan_in", "bfloat16"])
SIZES = pytest.mark.parametrize("size", [2, 3, 7])  # seven processes for five documents: two have none


def classifier(kind: str, shard: Shard) -> LinearClassifier:
    generator = torch.Generator().manual_seed(0)
    made: LinearClassifier
    if kind == "dense":
        made = Dense(D, L, generator=generator, shard=shard)
    else:
        dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        backend, _ = resolve_backend("cpu", weight_dtype=dtype)
        index = init_index(len(shard), K, D, 0, offset=shard.start)
        made = FixedFanIn(D, index, backend=backend, generator=generator, dtype=dtype, shard=shard)
    return made


def share(processes: ThreadGroup, kind: str) -> ShardedClassifier:
    made = ShardedClassifier(classifier(kind, processes.shard(L)), processes, L)
    made.init_bias(COUNTS, 30, "bce")
    return made


def single(kind: str) -> LinearClassifier:
    made = classifier(kind, Shard.whole(L))
    made.init_bias(COUNTS, 30, "bce")
    return made


def positives(documents: Shard) -> Positives:
    rows = LABELS[documents.rows]
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    return Positives(offsets, torch.tensor([label for row in rows for label in row], dtype=torch.int64))


def features() -> torch.Tensor:
    return torch.randn(B, D, generator=torch.Generator().manual_seed(1))


@SIZES
@KINDS
def test_shards_are_drawn_as_the_whole(kind: str, size: int) -> None:
    shards = together(size, lambda processes: share(processes, kind).state_dict(prefix="classifier."))
    whole = single(kind).state_dict(prefix="classifier.")
    for name, value in whole.items():
        assert torch.equal(torch.cat([shard[name] for shard in shards]), value), name


@SIZES
@pytest.mark.parametrize(
    ("kind", "in_place"), [("dense", False), ("fixed_fan_in", False), ("fixed_fan_in", True), ("bfloat16", True)]
)
def test_a_step_is_that_of_one_process(kind: str, size: int, in_place: bool) -> None:
    update = InPlaceUpdate(0.5, 0.1, seed=3, step=2) if in_place else None
    whole = single(kind)
    loss, gradient = whole.step(features(), positives(Shard.whole(B)), "bce", 0.7, update)

    def step(processes: ThreadGroup) -> tuple[torch.Tensor, torch.Tensor, LinearClassifier]:
        sharded, documents = share(processes, kind), processes.shard(B)
        own = sharded.step(features()[documents.rows], positives(documents), "bce", 0.7, update)
        return *own, sharded.shard

    results = together(size, step)
    for own_loss, _, _ in results:
        torch.testing.assert_close(own_loss, loss)
    torch.testing.assert_close(torch.cat([own for _, own, _ in results]), gradient)
    for name in ("weight", "bias"):
        parameters = [getattr(shard, name) for _, _, shard in results]
        together_ = torch.cat([p if in_place else p.grad for p in parameters])
        torch.testing.assert_close(together_, getattr(whole, name) if in_place else getattr(whole, name).grad)


@SIZES
@KINDS
@pytest.mark.parametrize("k", [1, 6, L + 3])
def test_the_best_labels_are_those_of_one_process(kind: str, size: int, k: int) -> None:
    whole = single(kind)
    expected = whole.topk(features(), k)

    def topk(processes: ThreadGroup) -> tuple[torch.Tensor, torch.Tensor]:
        best = share(processes, kind).topk(features()[processes.shard(B).rows], k + processes.rank)  # others want more
        return best.scores[:, :k], best.labels[:, :k]

    results = together(size, topk)
    assert torch.equal(torch.cat([labels for _, labels in results]), expected.labels)
    torch.testing.assert_close(torch.cat([scores for scores, _ in results]), expected.scores)


def test_ties_rank_by_label_and_what_is_no_label_comes_last() -> None:
    inf = torch.inf
    scores = torch.tensor([[[2.0, 1.0, -inf]], [[2.0, 2.0, -inf]]])
    labels = torch.tensor([[[1, 0, -1]], [[4, 6, 5]]])
    best = merged(scores, labels, 6)
    assert best.labels.tolist() == [[1, 4, 6, 0, 5, -1]]
    assert best.scores.tolist() == [[2, 2, 2, 1, -inf, -inf]]


@KINDS
def test_logits_are_adjusted_and_the_whole_has_room_for_it(kind: str) -> None:
    whole = single(kind)
    whole.adjust_logits(COUNTS, 30, 0.5)

    def adjusted(processes: ThreadGroup) -> ShardedClassifier:
        sharded = share(processes, kind)
        sharded.adjust_logits(COUNTS, 30, 0.5)
        return sharded

    shards = together(2, adjusted)
    assert torch.equal(torch.cat([s.state_dict()["adjustment"] for s in shards]), whole.state_dict()["adjustment"])
    for name, value in shards[1].whole().state_dict().items():
        assert value.shape == whole.state_dict()[name].shape and value.dtype == whole.state_dict()[name].dtype
