"""Folders that Hugging Face's datasets reads; the Hub is one of the library's own doors."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from xmc.data.hf import HuggingFaceData
from xmc.errors import XMCError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def data(tmp_path: Path, **options: Any) -> HuggingFaceData:
    return HuggingFaceData(**{"name": str(tmp_path / "set"), "cache_dir": str(tmp_path / "cache"), **options})


TOPICS = ClassLabel(names=["fish; trout", "the alps"])
FEATURES = Features({"text": Value("string"), "labels": Sequence(TOPICS), "label": TOPICS, "price": Value("float32")})
ROWS = {"text": ["Bees", "Trout", "Both"], "labels": [[1], [0], [0, 1]], "label": [1, 0, -1], "price": [1, 2, None]}
SETS = DatasetDict(train=Dataset.from_dict(ROWS, features=FEATURES), validation=Dataset.from_dict(ROWS, FEATURES))


def parquet(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    for name, split in SETS.items():
        split.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")


@pytest.mark.parametrize("write", [parquet, SETS.save_to_disk], ids=["files", "saved"])
def test_a_folder(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "set")
    corpus = data(tmp_path).read()
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 3, "dev": 3}
    assert corpus.label_ids == TOPICS.names
    train = corpus.split("train")
    assert (list(train.ids), list(train.texts)) == (["train-0", "train-1", "train-2"], ROWS["text"])
    assert train.labels.toarray().tolist() == [[0, 1], [1, 0], [1, 1]]
    one = data(tmp_path, label_field="label", splits={"dev": "train"}).read()
    assert one.split("dev").labels.toarray().tolist() == [[0, 1], [1, 0], [0, 0]]


def test_lines_of_json(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    lines = [{"text": "Bees", "labels": ["alps"], "id": "b"}, {"text": "Trout", "labels": None, "id": "t"}]
    (tmp_path / "set" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    train = data(tmp_path, id_field="id").read().split("train")
    assert list(train.ids) == ["b", "t"] and train.labels.toarray().tolist() == [[1], [0]]


def test_mistakes_are_told(tmp_path: Path) -> None:
    parquet(tmp_path / "set")
    with pytest.raises(XMCError, match=r"set/train:1: no field 'body'; it has: label, labels, price, text. Set data.t"):
        data(tmp_path, text_fields=["body"]).read()
    with pytest.raises(XMCError, match=r"set has no split 'val'; it has: train, validation. Set data.splits"):
        data(tmp_path, splits={"dev": "val"}).read()
    with pytest.raises(XMCError, match=r"data.name=owner/set: neither a folder nor a set of the Hub"):
        data(tmp_path, name="owner/set").read()


def test_code_of_a_set_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(XMCError, match=r"the folder cannot be read as a set"):
        data(tmp_path).read()
    assert not (tmp_path / "ran").exists()
