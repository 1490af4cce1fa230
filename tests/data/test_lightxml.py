import logging
from pathlib import Path
from typing import Any

import pytest

from xmc.data.corpus import Corpus
from xmc.data.lightxml import LightXMLData
from xmc.errors import XMCError


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(
        tmp_path / "set",
        train_texts="one\ntwo\u2028words\nthree\n",
        train_labels="b a\n\nb\n",
        test_texts="four",
        test_labels="z",
    )


def read(root: Path, cache: Path, **options: Any) -> Corpus:
    return LightXMLData(root=str(root), cache_dir=str(cache), **options).read()


def test_layout(root: Path, tmp_path: Path) -> None:
    corpus = read(root, tmp_path)
    train = corpus.split("train")
    assert list(train.ids) == ["train-0", "train-1", "train-2"]
    assert list(train.texts) == ["one", "two\u2028words", "three"]
    assert corpus.label_ids == ["a", "b", "z"]
    assert train.labels.toarray().tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert list(corpus.split("test").ids) == ["test-0"]


def test_raw_texts(root: Path, tmp_path: Path) -> None:
    write(root, train_raw_texts="One!\nTwo?\nThree.\n")
    assert read(root, tmp_path).split("train").texts[0] == "one"
    with pytest.raises(XMCError, match=r"no file .*test_raw_texts.txt \(did you mean"):
        read(root, tmp_path, raw=True)
    write(root, test_raw_texts="Four")
    corpus = read(root, tmp_path, raw=True)
    assert [corpus.split(name).texts[0] for name in ("train", "test")] == ["One!", "Four"]


def test_raw_texts_where_there_are_no_cleaned_ones(root: Path, tmp_path: Path) -> None:
    (root / "train_texts.txt").rename(root / "train_raw_texts.txt")
    with pytest.raises(XMCError, match=r"no file .*test_raw_texts.txt"):
        read(root, tmp_path)
    (root / "test_texts.txt").rename(root / "test_raw_texts.txt")
    assert [len(split) for split in read(root, tmp_path).splits.values()] == [3, 1]


def test_byte_order_mark_and_windows_line_ends_change_nothing(root: Path, tmp_path: Path) -> None:
    before = read(root, tmp_path).fingerprint
    for path in root.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(root, tmp_path).fingerprint == before


def test_labels_file_names_and_bounds_the_vocabulary(root: Path, tmp_path: Path) -> None:
    (root / "labels.tsv").write_text("id\tname\nz\tZed\nb\tBee\na\tA\nq\tnever seen\n")
    assert read(root, tmp_path).label_names == ["Zed", "Bee", "A", "never seen"]
    (root / "labels.tsv").write_text("id\tname\nb\tBee\nz\tZed\n")
    with pytest.raises(XMCError, match=r"train_texts.txt:1: document 'train-0' has the label 'a', which is not in"):
        read(root, tmp_path)


@pytest.mark.parametrize(
    ("texts", "labels", "counts"),
    [("a\nb\nc\n", "l\n", (3, 1)), ("a\n", "l\nl\nl\nl", (1, 4)), ("a\nb\n", "l\nl\nl\n", (2, 3))],
)
def test_different_lengths(tmp_path: Path, texts: str, labels: str, counts: tuple[int, int]) -> None:
    root = write(tmp_path / "set", train_texts=texts, train_labels=labels)
    message = rf"train_texts.txt has {counts[0]} lines, .*train_labels.txt has {counts[1]}; line i of both must be"
    with pytest.raises(XMCError, match=message):
        read(root, tmp_path)


def test_empty_text_is_reported(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root, train_texts="one\n \nthree\n")
    with caplog.at_level(logging.WARNING):
        corpus = read(root, tmp_path)
    assert list(corpus.split("train").texts) == ["one", "", "three"]
    assert "train_texts.txt:2: empty text, kept (1 of 3 documents)" in caplog.text


def test_nothing_but_empty_texts(root: Path, tmp_path: Path) -> None:
    write(root, train_texts="\n\n\n")
    with pytest.raises(XMCError, match=r"train_texts.txt:1: empty text, like all 3 documents"):
        read(root, tmp_path)


@pytest.mark.parametrize("missing", ["train_texts", "train_labels", "test_labels"])
def test_missing_file(root: Path, tmp_path: Path, missing: str) -> None:
    (root / f"{missing}.txt").unlink()
    with pytest.raises(XMCError, match=rf"no file .*{missing}.txt.*set has: "):
        read(root, tmp_path)


def test_no_labels_at_all(root: Path, tmp_path: Path) -> None:
    write(root, train_labels="\n\n\n")
    with pytest.raises(XMCError, match="no labels at all in train"):
        read(root, tmp_path)


def test_not_utf8(root: Path, tmp_path: Path) -> None:
    (root / "train_labels.txt").write_bytes(b"a\n\xff\nb\n")
    with pytest.raises(XMCError, match=r"train_labels.txt:2: not UTF-8"):
        read(root, tmp_path)


def test_skipped_documents_are_told_and_shift_nothing(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "train_labels.txt").write_bytes(b"b a\n\xff\nb\n")
    with caplog.at_level(logging.WARNING):
        train = read(root, tmp_path, on_error="skip").split("train")
    assert "train_texts.txt: skipped 1 of 3 documents; the first: " in caplog.text
    assert "train_labels.txt:2: not UTF-8" in caplog.text
    assert (train.ids, list(train.texts)) == (["train-0", "train-2"], ["one", "three"])
    assert train.labels.toarray().tolist() == [[1, 1, 0], [0, 1, 0]]


def test_cve_libraries(shared: Path, tmp_path: Path) -> None:
    corpus = read(shared / "data" / "cve-libraries", tmp_path)
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 6017, "test": 1649}
    assert len(corpus.label_ids) == 3491
    assert (corpus.label_counts("train") > 0).sum() == 3430
