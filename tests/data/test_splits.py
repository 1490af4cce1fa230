import json
from collections.abc import Callable
from pathlib import Path

import pytest

from xmc.data.annif import AnnifData
from xmc.data.bow import BowData
from xmc.data.splits import split_files
from xmc.data.table import JsonlData
from xmc.errors import XMCError


@pytest.fixture
def named(tmp_path: Path) -> Callable[..., dict[str, list[str]]]:
    """The names that are found for each split in a folder with empty files of these names."""

    def _named(*present: str, files: dict[str, str] | None = None) -> dict[str, list[str]]:
        for name in present:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.touch()
        found = split_files(tmp_path, files or {}, ("jsonl", "csv", "parquet"))
        return {split: [path.name for path in paths] for split, paths in found.items()}

    return _named


@pytest.mark.parametrize("dev", ["dev.jsonl", "validation.jsonl", "valid.jsonl.gz", "val.csv"])
def test_names_of_dev(named: Callable[..., dict[str, list[str]]], dev: str) -> None:
    assert named("train.jsonl", dev, "value.jsonl") == {"train": ["train.jsonl"], "dev": [dev]}


def test_two_devs(named: Callable[..., dict[str, list[str]]]) -> None:
    with pytest.raises(XMCError, match=r"dev.jsonl and validation.jsonl; say which one is dev: data.files.dev=dev.jso"):
        named("train.jsonl", "dev.jsonl", "validation.jsonl")
    assert named(files={"dev": "validation.jsonl"})["dev"] == ["validation.jsonl"]


def test_shards_in_order(named: Callable[..., dict[str, list[str]]]) -> None:
    shards = [f"train-{i:05d}-of-00012.parquet" for i in range(12)]
    found = named(*reversed(shards), "validation-00000-of-00001.parquet", "train-old.parquet")
    assert found == {"train": shards, "dev": ["validation-00000-of-00001.parquet"]}


def test_shards_that_lack(named: Callable[..., dict[str, list[str]]]) -> None:
    with pytest.raises(XMCError, match=r"has 1 of the 2 files train-\*-of-2.csv: train-1-of-2.csv; get the others, or"):
        named("train-1-of-2.csv")
    assert named(files={"train": "train-*-of-2.csv"})["train"] == ["train-1-of-2.csv"], "as the error says"


def test_shards_beside_a_whole_file(named: Callable[..., dict[str, list[str]]]) -> None:
    with pytest.raises(XMCError, match=r"train-\*-of-1.csv and train.csv; say which one is train: data.files.train=tr"):
        named("train.csv", "train-0-of-1.csv")


def test_patterns(named: Callable[..., dict[str, list[str]]]) -> None:
    parts = [f"part-{i}.jsonl" for i in range(11)]
    assert named(*parts, files={"train": "part-*.jsonl"}) == {"train": parts}, "part-2 before part-10"
    assert named("more/a.jsonl", files={"train": "mo*/*.jsonl"}) == {"train": ["a.jsonl"]}
    assert named("odd[1].jsonl", files={"train": "odd[1].jsonl"}) == {"train": ["odd[1].jsonl"]}
    with pytest.raises(XMCError, match=r"data.files.train=nil-\*: no such file in .*; it has: more, odd"):
        named(files={"train": "nil-*"})


def write(root: Path, name: str, *documents: str) -> None:
    lines = (json.dumps({"id": id_, "text": f"text {id_}", "labels": [f"l{id_}"]}) + "\n" for id_ in documents)
    (root / name).write_text("".join(lines))


def test_shards_are_one_split(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", *"abcd")
    whole = JsonlData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read()
    (tmp_path / "train.jsonl").unlink()
    write(tmp_path, "train-0-of-2.jsonl", *"ab")
    write(tmp_path, "train-1-of-2.jsonl", *"cd")
    assert JsonlData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read().fingerprint == whole.fingerprint
    train = JsonlData(root=str(tmp_path), id_field=None, cache_dir=str(tmp_path / "cache")).read().split("train")
    assert train.ids == ["train-0", "train-1", "train-1-0", "train-1-1"]
    assert list(train.select([0, 3]).texts) == ["text a", "text d"]


def test_what_is_wrong_with_a_shard_names_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "train-0-of-2.jsonl", *"ab")
    write(tmp_path, "train-1-of-2.jsonl", *"cb")
    with pytest.raises(XMCError, match=r"train-1-of-2.jsonl:2: document id 'b' stands at .*train-0-of-2.jsonl:2"):
        JsonlData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read()
    with open(tmp_path / "train-1-of-2.jsonl", "w") as out:
        out.write('{\n{"id": "d", "text": "x", "labels": ["l"]}\n')
    train = JsonlData(root=str(tmp_path), on_error="skip", cache_dir=str(tmp_path / "cache")).read().split("train")
    assert train.ids == ["a", "b", "d"]
    assert "train-1-of-2.jsonl: skipped 1 of 2 documents" in caplog.text


def test_shards_of_other_layouts(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"train-{number}-of-2.tsv").write_text(f"text {number}\t<u:{number}>\n")
    corpus = AnnifData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read()
    assert (corpus.split("train").ids, corpus.label_ids) == (["train-0", "train-1-0"], ["u:0", "u:1"])
    for number in range(2):
        (tmp_path / f"train-{number}-of-2.txt").write_text("1 1 1\n0 0:1\n")
    with pytest.raises(XMCError, match=r"a split of data=bow is a single file, below one header; join them"):
        BowData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read()
