import json
from pathlib import Path

import pytest

from xmc.data.scores import read_scores
from xmc.errors import XMCError

IDS, LABELS = ["d1", "d2"], ["a", "b", "c"]
OURS = [{"id": "d1", "labels": [{"label": "c", "name": "C", "score": 0.25}, {"label": "a", "name": "A", "score": 0.5}]}]
OURS += [{"id": "d2", "labels": []}]
ANNIF = [{"document_id": "d1", "results": [{"uri": "c", "score": 0.25}, {"uri": "a", "score": 0.5}]}, {"results": []}]
PAIRS = [[["c", 0.25], ["a", 0.5]], []]


def written(path: Path, rows: list[object] | str) -> Path:
    path.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("rows", [OURS, ANNIF, PAIRS, "2 3\n2:.25 0:0.5\n\n"], ids=["ours", "annif", "pairs", "sparse"])
def test_forms(rows: list[object] | str, tmp_path: Path) -> None:
    top = read_scores(written(tmp_path / "scores", rows), IDS, LABELS, 3)
    assert top.labels.tolist() == [[0, 2, -1], [-1, -1, -1]]
    assert top.scores.tolist() == [[0.5, 0.25, 0], [0, 0, 0]]


def test_the_best_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "scores", [[["a", 1], ["b", 7.5], ["c", 1.0]], [["c", 0]]])
    assert read_scores(path, IDS, LABELS, 2).labels.tolist() == [[1, 0], [2, -1]]


def test_other_tools_may_call_documents_otherwise(tmp_path: Path) -> None:
    path = written(tmp_path / "scores", [{"id": "x", "labels": []}, {"id": "y", "labels": []}])
    assert read_scores(path, IDS, LABELS, 1).labels.tolist() == [[-1], [-1]]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (OURS[:1], r"scores has 1 documents, the split 2; expected a line for each"),
        ([*OURS, OURS[1]], r"scores has 3 documents, the split 2"),
        ("", r"scores has 0 documents"),
        (OURS[::-1], r"scores:1: document 'd2' in the place of 'd1'; keep the split's order"),
        ([[], [["d", 0.5]]], r"scores:2: no label of the model is called 'd'"),
        ([[["a", -0.5]], []], r"scores:1: label 'a' has the score -0.5; expected a finite number from 0 on.*logits"),
        ('[[["a", NaN]]]\n', r"scores:1"),
        ([[["a", True]], []], r"label 'a' has the score True"),
        ([[["a", 1e300]], []], r"label 'a' has the score 1e\+300"),
        ([[["a", "0.5"]], []], r"label 'a' has the score '0.5'"),
        ([[["a", 0.5], ["a", 0.5]], []], r"scores:1: a label stands twice"),
        ([{"id": "d1"}], r'scores:1: expected \{"id"'),
        ([[["a"]], []], r'scores:1: expected \{"id"'),
        ([{"labels": ["a"]}], r'scores:1: expected \{"id"'),
        ("[[1,\n", r"scores:1: malformed JSON"),
        ("label,score\n", r"scores:1: expected .* or `rows columns` above sparse text; found 'label,score'"),
        ("2 4\n\n\n", r"scores:1: the scores are of 4 labels, the model has 3"),
        ("2 3\n3:1\n\n", r"scores:2: label 3 is out of range; there are 3 labels, 0 to 2"),
        ("2 3\n0:1\n1:x\n", r"scores:3: expected `label:score`, a whole number and a number, found '1:x'"),
        ("2 3\n0:nan\n\n", r"scores:2: label '0' has the score nan"),
        ("2 3\n0:1\n", r"scores:2: the first line tells 2 rows, and there are 1; is the file complete"),
        ("2 3\n\n\n\n", r"scores:4: the first line tells 2 rows, and here is one more"),
    ],
)
def test_mistakes(rows: list[object] | str, told: str, tmp_path: Path) -> None:
    with pytest.raises(XMCError, match=told):
        read_scores(written(tmp_path / "scores", rows), IDS, LABELS, 3)
