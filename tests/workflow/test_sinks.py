import gzip
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from xmc.errors import XMCError
from xmc.model import Prediction
from xmc.workflow import sinks
from xmc.workflow.predicting import Ranked
from xmc.workflow.sinks import write_predictions

LABELS = [f"l{i}" for i in range(6)]


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


def test_csv(tmp_path: Path) -> None:
    assert write_predictions(ranked({4: 2.0, 0: -1.5}, {}), str(tmp_path / "x.csv"), "csv", LABELS) == 2
    assert (tmp_path / "x.csv").read_bytes().decode() == (
        "id,label,name,score\nd0,l4,Name ü 4,0.880797\nd0,l0,Name ü 0,0.182426\n"
    )


def test_parquet_holds_what_json_lines_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "_ROW_GROUP", 2)
    documents = [*ranked({4: 2.0, 0: -1.5}, {}, {5: 1.0}), XMCError("bad")]
    for name, format in (("x.jsonl", "jsonl"), ("x.parquet", "parquet")):
        assert write_predictions(documents, str(tmp_path / name), format, LABELS) == 3  # type: ignore[arg-type]
    assert pq.read_metadata(tmp_path / "x.parquet").num_row_groups == 2
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [json.loads(line) for line in lines]
    told = [("d", [Prediction("l1", "", 0.5, 0.0, [("word", 0.25)])])]
    write_predictions(told, str(tmp_path / "x.parquet"), "parquet", LABELS, explained=True)
    (row,) = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert row["labels"][0]["words"] == [{"word": "word", "weight": 0.25}]
    write_predictions([], str(tmp_path / "none.parquet"), "parquet", LABELS)
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


def test_errors_have_a_file_of_their_own(tmp_path: Path) -> None:
    documents = [XMCError("a.jsonl:1: bad"), *ranked({1: 0.5})]
    write_predictions(documents, str(tmp_path / "x"), "jsonl", LABELS, str(tmp_path / "errors"))
    assert (tmp_path / "errors").read_text() == '{"error": "a.jsonl:1: bad"}\n'
