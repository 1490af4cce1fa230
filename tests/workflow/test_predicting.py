import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from xmc.errors import XMCError
from xmc.evaluate.metrics import leave_out
from xmc.model import Blend, Member, Prediction, ScoreFiles
from xmc.types import Batch, Positives, TopK
from xmc.workflow.predicting import Ranked, predict_documents, rank, rank_by_blend
from xmc.workflow.sinks import write_predictions

LABELS = [f"l{i}" for i in range(6)]


class Ranker:
    """A model whose scores are given: document i, with the only token i, has row i."""

    device = torch.device("cpu")

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self.asked: list[int] = []

    def eval(self) -> None: ...

    def topk(self, input_ids: Tensor, attention_mask: Tensor, k: int, values: Tensor | None = None) -> TopK:
        self.asked.append(k)
        scores, labels = self.scores[input_ids[:, 0]].sort(dim=1, descending=True, stable=True)
        missing = max(0, k - scores.shape[1])
        pad = torch.nn.functional.pad
        return TopK(pad(scores, (0, missing), value=-torch.inf)[:, :k], pad(labels, (0, missing), value=-1)[:, :k])


def batches(documents: int, size: int) -> Iterator[Batch]:
    nothing = Positives(torch.zeros(1, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    for rows in torch.arange(documents).flip(0).split(size):
        yield Batch(rows[:, None], torch.ones(len(rows), 1), nothing, rows)


def test_filter_leaves_labels_out_and_the_others_move_up() -> None:
    model = Ranker(torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3], [0, 3, 1, 2]]))
    filter = csr_matrix(([1, 1, 1, 1], ([0, 0, 1, 2], [0, 2, 0, 3])), shape=(3, 4))
    top = rank(model, batches(3, 1), 2, filter)
    assert top.labels.tolist() == [[1, 3], [3, 2], [1, 2]]
    assert top.scores.tolist() == [[2, 0], [3, 2], [3, 1]]
    assert model.asked == [3, 3, 4], "k plus the most filtered labels of a document of the batch"


def test_a_blend_leaves_labels_out_likewise() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4], [0.1, 0.4, 0.2, 0.3]])
    order = scores.argsort(dim=1, descending=True)
    given = {"file": TopK(scores.gather(1, order), order)}
    blend = Blend([Member("file", 1.0, ScoreFiles({}))], LABELS[:4], LABELS[:4])
    filter = csr_matrix(([1, 1, 1, 1], ([0, 0, 1, 2], [0, 2, 0, 3])), shape=(3, 4))
    for batch_size in (1, 2, 9):
        top = rank_by_blend(blend, ["a", "b", "c"], 2, filter, given, batch_size)
        assert top.labels.tolist() == [[1, 3], [3, 2], [1, 2]]
        assert top.scores[0].sigmoid().tolist() == pytest.approx([0.8, 0.6])
    with pytest.raises(XMCError, match="knows the documents of its split alone"):
        rank_by_blend(blend, ["a"], 2)


def test_filter_of_all_but_few_labels() -> None:
    top = rank(Ranker(torch.tensor([[3.0, 2, 1]])), batches(1, 1), 2, csr_matrix([[1, 0, 1]]))
    assert top.labels.tolist() == [[1, -1]]
    assert top.scores.tolist() == [[2, -torch.inf]]


@pytest.mark.parametrize("k", [1, 4, 9])
def test_filter_is_that_of_the_metrics(k: int) -> None:
    """Asking for all labels and leaving out afterwards gives the same lists."""
    rng = np.random.default_rng(k)
    documents, labels = 40, 9
    model = Ranker(torch.from_numpy(rng.normal(size=(documents, labels))))
    pairs = np.stack([rng.integers(documents, size=60), rng.integers(labels, size=60)], axis=1)
    filter = csr_matrix((np.ones(60), (pairs[:, 0], pairs[:, 1])), shape=(documents, labels))
    whole = rank(model, batches(documents, 7), labels).labels.numpy()
    wanted, _ = leave_out(whole, csr_matrix((documents, labels)), pairs)
    assert (wanted[:, :k] == rank(model, batches(documents, 7), k, filter).labels.numpy()).all()


class Namer:
    """A model that gives a text the labels that it names, and refuses to be asked for nothing."""

    label_ids = LABELS

    def default_k(self, threshold: object) -> int:
        return 2

    def predict(self, texts: list[str], k: int, batch_size: int, threshold: object) -> list[list[Prediction]]:
        assert texts
        return [[Prediction(label, label, 0.5, 0.0) for label in text.split()][:k] for text in texts]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_documents_that_cannot_be_used_shift_nothing(tmp_path: Path, batch_size: int) -> None:
    documents = [("a", "l1 l2"), XMCError("bad"), XMCError("worse"), ("d", "l3 l4"), ("e", "l5")]

    def predicted() -> Iterator[Ranked | XMCError]:
        """The filter counts places among all documents."""
        return predict_documents(
            Namer(), enumerate(documents), k=None, batch_size=batch_size, left_out={1: [0], 3: [3]}
        )

    assert [(id_, [p.label for p in labels]) for id_, labels in (one for one in predicted() if type(one) is tuple)] == [
        *(("a", ["l1", "l2"]), ("d", ["l4"]), ("e", ["l5"]))
    ]
    for format, written in (("jsonl", 3), ("annif", 3), ("scores", 5)):
        assert write_predictions(predicted(), str(tmp_path / format), format, LABELS) == written
    assert (tmp_path / "scores").read_text().splitlines() == ["5 6", "1:0.5 2:0.5", "", "", "4:0.5", "5:0.5"]
    assert [json.loads(line)["id"] for line in (tmp_path / "jsonl").read_text().splitlines()] == ["a", "d", "e"]


def test_no_more_labels_are_asked_for_than_there_are() -> None:
    class Model:
        label_ids = LABELS

        def predict(self, texts: list[str], k: int, batch_size: int, threshold: object) -> list[list[Prediction]]:
            assert k == len(LABELS)
            return [[] for _ in texts]

    documents = predict_documents(Model(), [(0, ("d", "text"))], k=10**12, batch_size=2)  # type: ignore[arg-type]
    assert list(documents) == [("d", [])]
