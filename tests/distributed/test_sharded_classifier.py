"""A classifier of several processes beside the same one of a single process."""

import pytest
import torch
from in_threads import ThreadGroup, together

from xmc.distributed import ALONE, Processes, Shard
from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.dense import Dense
from xmc.model.head_and_tail import HeadAndTail, most_frequent_first
from xmc.model.sharded import ShardedClassifier, merged
from xmc.ops.fan_in import resolve_backend
from xmc.sparsity.topology import init_index
from xmc.types import InPlaceUpdate, Positives

L, D, K, B = 23, 10, 4, 5
HEAD = 8
COUNTS = torch.arange(L)
LABELS = [[0, 22], [3, 7, 8], [], [2, 5, 15], [11]]

KINDS = pytest.mark.parametrize("kind", ["dense", "fixed_fan_in", "bfloat16", "head_and_tail"])
SIZES = pytest.mark.parametrize("size", [2, 3, 7])  # seven processes for five documents: two have none


def classifier(kind: str, processes: Processes) -> Classifier:
    generator = torch.Generator().manual_seed(0)
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    backend, _ = resolve_backend("cpu", weight_dtype=dtype)

    def dense(labels: int) -> Dense:
        return Dense(D, labels, generator=generator, shard=processes.shard(labels))

    def sparse(labels: int) -> FixedFanIn:
        shard = processes.shard(labels)
        index = init_index(len(shard), K, D, 0, offset=shard.start)
        return FixedFanIn(D, index, backend=backend, generator=generator, dtype=dtype, shard=shard)

    if kind == "head_and_tail":
        return HeadAndTail(dense(HEAD), sparse(L - HEAD), most_frequent_first(COUNTS % 5), HEAD)
    return dense(L) if kind == "dense" else sparse(L)


def share(processes: ThreadGroup, kind: str) -> ShardedClassifier:
    made = ShardedClassifier(classifier(kind, processes), processes, L)
    made.init_bias(COUNTS, 30, "bce")
    return made


def single(kind: str) -> Classifier:
    made = classifier(kind, ALONE)
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
        parts = [shard[name] for shard in shards]
        assert torch.equal(parts[0] if name.endswith("order") else torch.cat(parts), value), name


@SIZES
@pytest.mark.parametrize(
    ("kind", "in_place"),
    [
        ("dense", False),
        ("fixed_fan_in", False),
        ("fixed_fan_in", True),
        ("bfloat16", True),
        ("head_and_tail", False),
        ("head_and_tail", True),
    ],
)
def test_a_step_is_that_of_one_process(kind: str, size: int, in_place: bool) -> None:
    update = InPlaceUpdate(0.5, 0.1, seed=3, step=2) if in_place else None
    whole = single(kind)
    loss, gradient = whole.step(features(), positives(Shard.whole(B)), "bce", 0.7, update)

    def step(processes: ThreadGroup) -> tuple[torch.Tensor, torch.Tensor, Classifier]:
        sharded, documents = share(processes, kind), processes.shard(B)
        own = sharded.step(features()[documents.rows], positives(documents), "bce", 0.7, update)
        return *own, sharded.shard

    results = together(size, step)
    for own_loss, _, _ in results:
        torch.testing.assert_close(own_loss, loss)
    torch.testing.assert_close(torch.cat([own for _, own, _ in results]), gradient)
    for name, expected in whole.named_parameters():
        parameters = [shard.get_parameter(name) for _, _, shard in results]
        if expected.grad is not None:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            torch.testing.assert_close(torch.cat(gradients), expected.grad)
        torch.testing.assert_close(torch.cat(parameters), expected)


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


@SIZES
@pytest.mark.parametrize("kind", ["fixed_fan_in", "head_and_tail"])
def test_labels_that_tie_are_those_of_one_process(kind: str, size: int) -> None:
    """Of documents without features, whose scores are the labels' biases: many are the same."""
    whole = single(kind)
    whole.init_bias(COUNTS % 5, 30, "bce")

    def topk(processes: ThreadGroup) -> torch.Tensor:
        sharded = share(processes, kind)
        sharded.init_bias(COUNTS % 5, 30, "bce")
        return sharded.topk(torch.zeros(B, D)[processes.shard(B).rows], 6).labels

    assert torch.equal(torch.cat(together(size, topk)), whole.topk(torch.zeros(B, D), 6).labels)


@KINDS
def test_logits_are_adjusted_and_the_whole_has_room_for_it(kind: str) -> None:
    whole = single(kind)
    whole.adjust_logits(COUNTS, 30, 0.5)

    def adjusted(processes: ThreadGroup) -> ShardedClassifier:
        sharded = share(processes, kind)
        sharded.adjust_logits(COUNTS, 30, 0.5)
        return sharded

    shards = together(2, adjusted)
    adjustments = [name for name in whole.state_dict() if name.endswith("adjustment")]
    assert adjustments
    for name in adjustments:
        assert torch.equal(torch.cat([s.state_dict()[name] for s in shards]), whole.state_dict()[name])
    for name, value in shards[1].whole().state_dict().items():
        assert value.shape == whole.state_dict()[name].shape and value.dtype == whole.state_dict()[name].dtype
