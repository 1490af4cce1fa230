"""Excel's sheets, and the classes in Parquet files of Hugging Face's datasets."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from xmc.data.documents import read_documents, records
from xmc.data.sources import Sources
from xmc.data.table import XlsxData
from xmc.errors import XMCError


def workbook(path: Path, *rows: list[Any]) -> Path:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_a_workbook(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "train.xlsx",
        [],
        ["id", " text ", "labels"],
        [7, "two\nlines", "a;b"],
        [],
        [8.0, 2.5, datetime.date(2026, 1, 2)],
    )
    assert list(records(path)) == [
        (3, {"id": "7", "text": "two\nlines", "labels": "a;b"}),
        (5, {"id": "8", "text": "2.5", "labels": "2026-01-02 00:00:00"}),
    ]
    corpus = XlsxData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read()
    assert corpus.label_ids == ["2026-01-02 00:00:00", "a", "b"]
    assert list(read_documents(Sources([str(path)]), ["text"])) == [("7", "two\nlines"), ("8", "2.5")]


def test_what_is_no_workbook(tmp_path: Path) -> None:
    with pytest.raises(XMCError, match=r"a.xlsx:1: the column 'text' stands twice"):
        list(records(workbook(tmp_path / "a.xlsx", ["text", "text"])))
    ((_, wrong),) = records(workbook(tmp_path / "b.xlsx", ["text"], ["x", "y"]))
    assert str(wrong).endswith("b.xlsx:2: 2 cells; the header has 1")
    (tmp_path / "c.xlsx").write_text("text,labels\n")
    with pytest.raises(XMCError, match=r"c.xlsx: cannot be read as a workbook of Excel \(.*\); is it complete\?"):
        list(records(tmp_path / "c.xlsx"))
    assert list(records(workbook(tmp_path / "d.xlsx"))) == []


def test_classes_of_parquet_are_their_names(tmp_path: Path) -> None:
    names = ClassLabel(names=["not spam", "spam"])
    features = Features({"text": Value("string"), "label": names, "labels": Sequence(names)})
    rows = {"text": ["a", "b", "c"], "label": [0, 1, -1], "labels": [[0, 1], [], [1]]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    read = [record for _, record in records(tmp_path / "train.parquet")]
    assert [record["label"] for record in read] == [["not spam"], ["spam"], []]
    assert [record["labels"] for record in read] == [["not spam", "spam"], [], ["spam"]]
