import gzip
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from xmc.evaluate.metrics import leave_out
from xmc.model import Blend, Member, Prediction, ScoreFiles
from xmc.types import Batch, Positives, TopK, XMCError
from xmc.workflow.predicting import Ranked, predict_documents, rank, rank_by_blend, write_predictions

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


def ranked(*documents: dict[int, float]) -> Iterator[Ranked]:
    for i, scores in enumerate(documents):
        yield (
            f"d{i}",
            [Prediction(LABELS[j], f"Name ü {j}", 1 / (1 + np.exp(-logit)), logit) for j, logit in scores.items()],
        )


def test_scores(tmp_path: Path) -> None:
    output = tmp_path / "out" / "scores.txt"
    assert write_predictions(ranked({4: 2.0, 0: -1.5}, {}, {5: -30.0}), str(output), "scores", LABELS) == 3
    head, *rows = output.read_text().split("\n")
    assert head == "3 6"
    assert [re.sub(r":\S+", "", row) for row in rows] == ["0 4", "", "5", ""], "an empty row is an empty line"
    values = [float(value) for value in re.findall(r":(\S+)", " ".join(rows))]
    assert values == pytest.approx([1 / (1 + np.e**1.5), 1 / (1 + np.e**-2), 1 / (1 + np.e**30)], rel=1e-9)
    assert [path.name for path in output.parent.iterdir()] == ["scores.txt"]


def test_scores_rank_where_probabilities_do_not(tmp_path: Path) -> None:
    documents = [
        ("d", [Prediction("l1", "", 1.0, 4.0), Prediction("l0", "", 1.0, 3.0), Prediction("l2", "", 0.0, -3.0)])
    ]
    write_predictions(documents, str(tmp_path / "scores.txt"), "scores", LABELS)
    row = (tmp_path / "scores.txt").read_text().splitlines()[1]
    scores = {int(column): float(score) for column, score in (entry.split(":") for entry in row.split())}
    assert scores[1] > scores[0] > scores[2] > 0


def test_scores_of_nothing_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_predictions([], "-", "scores", LABELS) == 0
    assert capsys.readouterr().out == "0 6\n"


def test_annif(tmp_path: Path) -> None:
    output = tmp_path / "pred.annif.jsonl"
    write_predictions(ranked({4: 2.0, 0: -1.5}, {}), str(output), "annif", LABELS)
    first, second = map(json.loads, output.read_text(encoding="utf-8").splitlines())
    assert first == {
        "document_id": "d0",
        "results": [
            {"uri": "l4", "label": "Name ü 4", "notation": None, "score": 0.880797},
            {"uri": "l0", "label": "Name ü 0", "notation": None, "score": 0.182426},
        ],
    }
    assert second == {"document_id": "d1", "results": []}


@pytest.mark.parametrize("format", ["jsonl", "scores", "annif"])
def test_an_error_leaves_no_file(tmp_path: Path, format: str) -> None:
    def failing() -> Iterator[Ranked]:
        yield from ranked({1: 0.0})
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_predictions(failing(), str(tmp_path / "out.txt"), format, LABELS)
    assert not list(tmp_path.iterdir())


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
        return predict_documents(Namer(), documents, k=None, batch_size=batch_size, left_out={1: [0], 3: [3]})

    assert [(id_, [p.label for p in labels]) for id_, labels in (one for one in predicted() if type(one) is tuple)] == [
        *(("a", ["l1", "l2"]), ("d", ["l4"]), ("e", ["l5"]))
    ]
    for format, written in (("jsonl", 3), ("annif", 3), ("scores", 5)):
        assert write_predictions(predicted(), str(tmp_path / format), format, LABELS) == written
    assert (tmp_path / "scores").read_text().splitlines() == ["5 6", "1:0.5 2:0.5", "", "", "4:0.5", "5:0.5"]
    assert [json.loads(line)["id"] for line in (tmp_path / "jsonl").read_text().splitlines()] == ["a", "d", "e"]


def test_compressed(tmp_path: Path) -> None:
    write_predictions(ranked({1: 0.5}), str(tmp_path / "a.jsonl.gz"), "jsonl", LABELS)
    write_predictions(ranked({1: 0.5}), str(tmp_path / "b.jsonl"), "jsonl", LABELS)
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize("format", ["jsonl", "scores", "annif"])
def test_a_fifo_is_written_to_and_stays_one(tmp_path: Path, format: str) -> None:
    fifo, got = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_text()))
    reader.start()
    write_predictions(ranked({1: 0.5}), str(fifo), format, LABELS)  # type: ignore[arg-type]
    reader.join()
    write_predictions(ranked({1: 0.5}), str(tmp_path / "file"), format, LABELS)  # type: ignore[arg-type]
    assert fifo.is_fifo() and got == [(tmp_path / "file").read_text()]


def test_a_symlink_stays_one_and_the_umask_is_honoured(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    before = os.umask(0o027)
    try:
        write_predictions(ranked({1: 0.5}), str(tmp_path / "link"), "jsonl", LABELS)
    finally:
        os.umask(before)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").stat().st_mode & 0o777 == 0o640


def test_no_more_labels_are_asked_for_than_there_are() -> None:
    class Model:
        label_ids = LABELS

        def predict(self, texts: list[str], k: int, batch_size: int, threshold: object) -> list[list[Prediction]]:
            assert k == len(LABELS)
            return [[] for _ in texts]

    documents = predict_documents(Model(), [("d", "text")], k=10**12, batch_size=2)  # type: ignore[arg-type]
    assert list(documents) == [("d", [])]
