import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.corpus import ArrowTexts, Corpus
from xmc.data.table import JsonlData
from xmc.errors import XMCError

RECORDS: list[dict[str, Any]] = [
    {"id": "007", "text": "NA", "labels": ["12", "b c"]},
    {"id": "2020-01-01", "text": 'two\nlines, "quoted"', "labels": []},
    {"id": "9", "text": "länger", "labels": ["12"]},
]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Corpus]:
    def _read(**options: Any) -> Corpus:
        return JsonlData(root=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"), **options).read()

    (tmp_path / "set").mkdir()
    return _read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def jsonl(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def write(root: Path, *lines: str, name: str = "train.jsonl") -> None:
    (root / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
def test_jsonl(root: Path, read: Callable[..., Corpus], suffix: str, compress: Callable[[bytes], bytes]) -> None:
    (root / f"train.jsonl{suffix}").write_bytes(compress(jsonl(RECORDS).encode()))
    corpus = read()
    train = corpus.split("train")
    assert (corpus.name, list(corpus.splits), corpus.label_ids) == ("set", ["train"], ["12", "b c"])
    assert list(train.ids) == ["007", "2020-01-01", "9"]
    assert isinstance(train.texts, ArrowTexts)
    assert list(train.texts) == [record["text"] for record in RECORDS]
    assert train.labels.toarray().tolist() == [[1, 1], [0, 0], [1, 0]]


def test_csv_keeps_text_as_it_is(root: Path, read: Callable[..., Corpus]) -> None:
    write(
        root,
        "\ufeffid,text,labels",
        "007,NA,12;b c",
        '2020-01-01,"two\nlines, ""quoted""",',
        "9,länger, 12 ;",
        name="train.csv",
    )
    from_csv = read(label_separator=";")
    (root / "train.csv").unlink()
    write(root, *jsonl(RECORDS).splitlines())
    assert from_csv.fingerprint == read().fingerprint


def test_tsv_has_no_quotes(root: Path, read: Callable[..., Corpus]) -> None:
    write(root, "text\tsubjects", 'a "quoted\t<u1> <u2>', "b\t<u1>", name="train.tsv")
    corpus = read(id_field=None, label_field="subjects")
    assert list(corpus.split("train").texts) == ['a "quoted', "b"]
    assert list(corpus.split("train").ids) == ["train-0", "train-1"]
    assert corpus.label_ids == ["<u1>", "<u2>"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_parquet(root: Path, read: Callable[..., Corpus], suffix: str) -> None:
    path = root / "train.parquet"
    pq.write_table(pa.Table.from_pylist(RECORDS), path)
    if suffix:
        (root / f"train.parquet{suffix}").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    from_parquet = read()
    (root / f"train.parquet{suffix}").unlink()
    write(root, *jsonl(RECORDS).splitlines())
    assert from_parquet.fingerprint == read().fingerprint


def test_text_fields_are_joined_without_the_empty_ones(root: Path, read: Callable[..., Corpus]) -> None:
    records = [{"id": i, "title": f"T{i}", "text": text, "labels": [3]} for i, text in enumerate(["a", "", None])]
    write(root, *jsonl(records).splitlines())
    corpus = read(text_fields=["title", "text"], text_separator=" | ")
    assert list(corpus.split("train").texts) == ["T0 | a", "T1", "T2"]
    assert corpus.label_ids == ["3"]


def test_a_text_field_may_be_a_list(root: Path, read: Callable[..., Corpus]) -> None:
    record = {"id": 1, "title": "T", "text": ["a", "", None, "b"], "labels": [3]}
    write(root, *jsonl([record]).splitlines())
    assert list(read(text_fields=["title", "text"], text_separator=" ").split("train").texts) == ["T a b"]
    write(root, *jsonl([record | {"text": ["a", 5]}]).splitlines())
    with pytest.raises(XMCError, match=r"train.jsonl:1: field 'text' is .*; expected a text, or a list of texts"):
        read()


def test_nulls_and_single_numbers(root: Path, read: Callable[..., Corpus]) -> None:
    labels = [None, 3, [3, None], [None], [4]]
    write(root, *jsonl([{"id": i, "text": "a", "labels": of_one} for i, of_one in enumerate(labels)]).splitlines())
    corpus = read()
    assert corpus.label_ids == ["3", "4"]
    assert corpus.split("train").labels.toarray().tolist() == [[0, 0], [1, 0], [1, 0], [0, 0], [0, 1]]


def test_a_json_array(root: Path, read: Callable[..., Corpus]) -> None:
    write(root, *jsonl(RECORDS).splitlines())
    expected = read().fingerprint
    (root / "train.jsonl").unlink()
    for indent in (None, 2):
        (root / "train.json").write_text(json.dumps(RECORDS, indent=indent))
        assert read().fingerprint == expected


def test_files_override_and_labels_file(root: Path, read: Callable[..., Corpus]) -> None:
    write(root, *jsonl(RECORDS).splitlines(), name="all.json")
    write(root, '{"id": "t", "text": "a", "labels": ["b c"], "extra": {"kept": "out"}}', name="test.jsonl")
    write(root, "id\tname", "x\tnever seen", "b c\tB and C", "12\tTwelve", name="labels.tsv")
    corpus = read(files={"train": "all.json"})
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 3, "test": 1}
    assert corpus.label_ids == ["x", "b c", "12"]
    assert corpus.label_names == ["never seen", "B and C", "Twelve"]


def test_a_changed_file_is_read_again(root: Path, read: Callable[..., Corpus]) -> None:
    write(root, *jsonl(RECORDS).splitlines())
    first = read()
    assert read().fingerprint == first.fingerprint
    write(root, *jsonl(RECORDS[:1]).splitlines())
    assert len(read().split("train")) == 1


GOOD = '{"id": "a", "text": "x", "labels": ["l"]}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [GOOD, "", '{"id": "b", "text": '],
            r"train.jsonl:3: malformed JSON, Expecting value at column 20.* one JSON object",
        ),
        (
            [GOOD, '{"id": "b", "text": "", "labels": []}'],
            r"train.jsonl:2: empty text: .* 'text' of document 'b'; give it",
        ),
        ([GOOD, '{"id": "b", "text": "\\n ", "labels": []}'], r"train.jsonl:2: empty text"),
        (
            [GOOD, GOOD.replace('"x"', '"y"')],
            r"train.jsonl:2: document id 'a' stands at .*train.jsonl:1 already; ids must be",
        ),
        (
            ['{"id": "a", "txt": "x", "labels": ["l"]}'],
            r"train.jsonl:1: no field 'text' \(did you mean 'txt'\?\); it has: id, ",
        ),
        (
            [GOOD, '{"id": "b", "text": "x"}'],
            r"train.jsonl:2: no field 'labels'; it has: id, text. Set data.label_field",
        ),
        (['{"text": "x", "labels": ["l"]}'], r"train.jsonl:1: no field 'id'; .* Set data.id_field=.*=null numbers"),
        (
            [GOOD, '{"id": "b", "text": "x", "labels": {"l": 1}}'],
            r"train.jsonl:2: {'l': 1} in field 'labels' is no label id; expected texts or whole",
        ),
        (
            [GOOD, '{"id": "b", "text": "x", "labels": ["l", 1.5]}'],
            r"train.jsonl:2: 1.5 in field 'labels' is no label id",
        ),
        ([GOOD, '{"id": 1.5, "text": "x", "labels": ["l"]}'], r"train.jsonl:2: field 'id' is 1.5; expected an id"),
        ([GOOD.replace('"l"', "")], r"set: no labels at all in train \(1 documents\)"),
        ([], r"train.jsonl: no documents; fill the file or remove it"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bad_jsonl(root: Path, read: Callable[..., Corpus], lines: list[str], message: str, suffix: str) -> None:
    content = "".join(line + "\n" for line in lines).encode()
    (root / f"train.jsonl{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(XMCError, match=message.replace("jsonl:", f"jsonl{suffix}:")):
        read()


def test_a_failed_read_leaves_nothing_behind(tmp_path: Path, root: Path, read: Callable[..., Corpus]) -> None:
    write(root, *[GOOD.replace('"a"', f'"{i}"') for i in range(2500)], "{")
    with pytest.raises(XMCError, match=r"train.jsonl:2501: malformed JSON"):
        read()
    assert not list((tmp_path / "cache").rglob("*.arrow"))


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("train.csv", ["id,text,labels", "a,x,l", "b,y"], r"train.csv:3: 2 fields; the header has 3: id, text, labels"),
        ("train.csv", ["id,text,labels", 'a,"x\ny",l', 'b,"",l'], r"train.csv:4: empty text: .* of document 'b'"),
        ("train.csv", ["id,text,labels", 'a,"x,l'], r"train.csv:2: malformed CSV"),
        ("train.tsv", ["id\ttext\tlabel", "a\tx\tl"], r"train.tsv:2: no field 'labels' \(did you mean 'label'\?\)"),
    ],
)
def test_bad_delimited(root: Path, read: Callable[..., Corpus], name: str, lines: list[str], message: str) -> None:
    write(root, *lines, name=name)
    with pytest.raises(XMCError, match=message):
        read()


def test_bad_parquet(root: Path, read: Callable[..., Corpus]) -> None:
    pq.write_table(pa.Table.from_pylist([*RECORDS, {"id": "e", "text": "", "labels": []}]), root / "train.parquet")
    with pytest.raises(XMCError, match=r"train.parquet:4: empty text"):
        read()
    write(root, "no parquet", name="train.parquet")
    with pytest.raises(XMCError, match=r"train.parquet: cannot be read beyond row 0 .*is it complete"):
        read()


def test_truncated_gzip(root: Path, read: Callable[..., Corpus]) -> None:
    content = gzip.compress(jsonl([{**record, "id": str(i)} for i, record in enumerate(RECORDS * 400)]).encode())
    (root / "train.jsonl.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(XMCError, match=r"train.jsonl.gz: cannot be read beyond line \d+ .*is it complete"):
        read()


def test_label_that_the_labels_file_lacks(root: Path, read: Callable[..., Corpus]) -> None:
    write(root, *jsonl(RECORDS).splitlines())
    write(root, "id\tname", "12\tTwelve", name="labels.tsv")
    with pytest.raises(
        XMCError, match=r"train.jsonl:1: document '007' has the label 'b c', which is not in .*labels.tsv"
    ):
        read()


def test_labels_that_the_labels_file_lacks_are_left_out_under_skip(
    root: Path, read: Callable[..., Corpus], caplog: pytest.LogCaptureFixture
) -> None:
    write(root, *jsonl(RECORDS).splitlines())
    write(root, "id\tname", "12\tTwelve", name="labels.tsv")
    assert read(on_error="skip").split("train").labels.toarray().tolist() == [[1], [0], [1]]
    assert "train.jsonl:1: left out 1 labels of 1 documents that are not in" in caplog.text


CELLS = {
    "csv": lambda cell: '"' + cell.replace('"', '""') + '"',
    "tsv": lambda cell: cell,
}


@pytest.mark.parametrize("format", CELLS)
@pytest.mark.parametrize("written", [repr, json.dumps], ids=["python", "json"])
def test_label_texts_that_are_lists(
    root: Path, read: Callable[..., Corpus], format: str, written: Callable[[list[str]], str]
) -> None:
    tab = "\t" if format == "tsv" else ","
    cells = [CELLS[format](written(labels)) for labels in (["a", "b;c"], ["a"], [])]
    write(root, f"text{tab}labels", *(f"text{tab}{cell}" for cell in cells), name=f"train.{format}")
    corpus = read(id_field=None, label_separator=";")
    assert corpus.label_ids == ["a", "b;c"]
    assert corpus.split("train").labels.toarray().tolist() == [[1, 1], [1, 0], [0, 0]]


def test_another_separator_is_advised(
    root: Path, read: Callable[..., Corpus], caplog: pytest.LogCaptureFixture
) -> None:
    write(root, "text,labels", 'x,"a, b"', 'y,"b, c"', "z,a", name="train.csv")
    read(id_field=None, label_separator=";")
    assert "train.csv: field 'labels': divided at ';', 3 texts have 3 different labels" in caplog.text
    assert """Set 'data.label_separator=","' if""" in caplog.text
    caplog.clear()
    read(id_field=None, label_separator=",")
    assert not caplog.text


def test_values_of_parquet_that_cannot_be_read(root: Path, read: Callable[..., Corpus]) -> None:
    """They matter where they are asked for."""
    offsets = pa.array([0, 1, 2], pa.int32()).buffers()[1]
    texts = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"\xffa"))
    columns = {
        "id": ["a", "b"],
        "text": texts,
        "labels": [["l"], ["m"]],
        "when": pa.array([2**62, 0], pa.timestamp("us")),
    }
    pq.write_table(pa.table(columns), root / "train.parquet")
    with pytest.raises(XMCError, match=r"train.parquet:1: field 'text' cannot be read \(.*0xff"):
        read()
    train = read(on_error="skip").split("train")
    assert (train.ids, list(train.texts)) == (["b"], ["a"])
    with pytest.raises(XMCError, match=r"train.parquet:1: field 'when' cannot be read"):
        read(text_fields=["when"])


def test_truncated_parquet_in_gzip(root: Path, read: Callable[..., Corpus]) -> None:
    pq.write_table(pa.Table.from_pylist(RECORDS), root / "whole")
    (root / "train.parquet.gz").write_bytes(gzip.compress((root / "whole").read_bytes())[:-40])
    with pytest.raises(XMCError, match=r"train.parquet.gz: cannot be read beyond row 0 .*is it complete"):
        read()


def test_missing_folder_and_files(root: Path, read: Callable[..., Corpus]) -> None:
    with pytest.raises(XMCError, match=r"no folder .*sett \(did you mean 'set'\?\); .*Set data.root"):
        JsonlData(root=f"{root}t").read()
    write(root, GOOD, name="training.jsonl")
    with pytest.raises(XMCError, match=r"set has no train.\{jsonl.*; it has: training.jsonl. Set data.files.train"):
        read()
    with pytest.raises(XMCError, match=r"no file .*trainin.jsonl \(did you mean 'training.jsonl'\?\)"):
        read(files={"train": "trainin.jsonl"})


def test_two_files_for_a_split(root: Path, read: Callable[..., Corpus]) -> None:
    write(root, GOOD)
    write(root, "id,text,labels", name="train.csv")
    with pytest.raises(
        XMCError, match=r"has train.csv and train.jsonl; say which one is train: data.files.train=train.csv"
    ):
        read()


def test_format_not_known(root: Path, read: Callable[..., Corpus]) -> None:
    write(root, GOOD, name="train.xls")
    with pytest.raises(XMCError, match=r"train.xls: format not known; expected a name in .jsonl, "):
        read(files={"train": "train.xls"})


@pytest.mark.parametrize(
    ("name", "fields", "size", "labels"),
    [("eurlex57k", ["text"], 6000, 4271), ("tibkat-en", ["title", "text"], 9672, 26983)],
)
def test_real_sets(shared: Path, tmp_path: Path, name: str, fields: list[str], size: int, labels: int) -> None:
    """The dev file stands in for train, which is large."""
    folder = shared / "data" / name
    files = {"train": "dev.jsonl.gz", "dev": str(tmp_path / "dev.jsonl"), "test": str(tmp_path / "test.jsonl")}
    for split in ("dev", "test"):
        with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as stream:
            record = {**json.loads(stream.readline()), "id": split}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(record), encoding="utf-8")
    corpus = JsonlData(root=str(folder), text_fields=fields, files=files, cache_dir=str(tmp_path)).read()
    train = corpus.split("train")
    assert (len(train), len(corpus.label_ids), corpus.name) == (size, labels, name)
    assert list(corpus.splits) == ["train", "dev", "test"]
    assert train.texts[0] == corpus.split("dev").texts[0]
    assert corpus.label_ids != corpus.label_names
    assert 2 < train.labels.nnz / size < 6
