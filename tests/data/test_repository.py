import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xmc.data.corpus import ArrowTexts, Corpus, cut_dev
from xmc.data.repository import RepositoryData
from xmc.errors import XMCError

LABELS = 7
BOM = b"\xef\xbb\xbf"


def documents(split: str, count: int) -> list[dict[str, Any]]:
    """Document i has the labels i and i + 3, modulo 7."""
    return [
        {
            "uid": f"{split}{i:03}",
            "title": f"Title {i}",
            "content": "" if i % 2 else f"Content of {i}",
            "target_ind": (ind := sorted({i % LABELS, (i + 3) % LABELS})),
            "target_rel": [1.0] * len(ind),
        }
        for i in range(count)
    ]


def lines(records: list[dict[str, Any]], end: str = "\n") -> bytes:
    return "".join(json.dumps(record) + end for record in records).encode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "LF-Toy"
    folder.mkdir()
    (folder / "trn.json.gz").write_bytes(gzip.compress(lines(documents("a", 30))))
    (folder / "tst.json").write_bytes(lines(documents("b", 12)))
    labels = [{"uid": f"L{i}", "title": f"Label {i}" if i else "", "content": "long"} for i in range(LABELS)]
    (folder / "lbl.json.gz").write_bytes(gzip.compress(lines(labels)))
    (folder / "trn_filter_labels.txt").write_text("")
    (folder / "tst_filter_labels.txt").write_text("2 2\n2 5\n7 0\r\n2 2\n")
    return folder


@pytest.fixture
def read(tmp_path: Path, root: Path) -> Callable[..., Corpus]:
    return lambda **options: RepositoryData(root=str(root), cache_dir=str(tmp_path / "cache"), **options).read()


def with_line(root: Path, number: int, line: bytes) -> None:
    """Put `line` in the place of line `number`, from 1, of tst.json."""
    content = (root / "tst.json").read_bytes().splitlines()
    content[number - 1] = line
    (root / "tst.json").write_bytes(b"\n".join(content) + b"\n")


def changed(**fields: Any) -> bytes:
    return json.dumps(documents("b", 5)[4] | fields).encode()


def test_layout(read: Callable[..., Corpus]) -> None:
    corpus = read()
    assert corpus.name == "LF-Toy"
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 30, "test": 12}
    assert corpus.label_ids == [f"L{i}" for i in range(LABELS)]
    assert corpus.label_names == ["L0", *(f"Label {i}" for i in range(1, LABELS))]
    train = corpus.split("train")
    assert isinstance(train.texts, ArrowTexts)
    assert train.ids == [f"a{i:03}" for i in range(30)]
    assert train.texts[2:4] == ["Title 2\nContent of 2", "Title 3"]
    for i, row in enumerate(train.labels.toarray()):
        assert set(np.flatnonzero(row)) == {i % LABELS, (i + 3) % LABELS}


def test_filter(read: Callable[..., Corpus]) -> None:
    corpus = read()
    assert corpus.split("train").filter.nnz == 0
    test = corpus.split("test").filter
    assert test.shape == (12, LABELS)
    assert list(zip(*map(np.ndarray.tolist, test.nonzero()), strict=True)) == [(2, 2), (2, 5), (7, 0)]
    assert set(test.data) == {1}


def test_filter_under_its_older_name_follows_the_dev_split(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "trn_filter_labels.txt").unlink()
    (root / "filter_labels_train.txt").write_text("".join(f"{i} {i % LABELS}\n" for i in range(30)))
    cut = cut_dev(read(), 0.3, seed=0)
    assert len(cut.split("dev")) > 2
    for name in ("train", "dev"):
        part = cut.split(name)
        assert part.filter.indices.tolist() == [int(id_[1:]) % LABELS for id_ in part.ids]


def test_without_filter_files(root: Path, read: Callable[..., Corpus]) -> None:
    with_filter = read().fingerprint
    for path in root.glob("*filter*"):
        path.unlink()
    assert read().split("test").filter is None
    assert read().fingerprint != with_filter


def test_fields(read: Callable[..., Corpus]) -> None:
    assert read(text_fields=["title"]).split("train").texts[2] == "Title 2"
    assert read(text_separator=" | ").split("train").texts[2] == "Title 2 | Content of 2"
    assert read(id_field=None).split("test").ids[:2] == ["test-0", "test-1"]


def test_without_labels_file(root: Path, read: Callable[..., Corpus]) -> None:
    truth = read().split("train").labels.toarray()
    (root / "lbl.json.gz").unlink()
    corpus = read()
    assert corpus.label_ids == corpus.label_names == [str(i) for i in range(LABELS)]
    assert np.array_equal(corpus.split("train").labels.toarray(), truth)


def test_labels_without_uid_are_named_by_their_line(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "lbl.json.gz").write_bytes(gzip.compress(lines([{"title": f"Label {i}"} for i in range(LABELS)])))
    corpus = read()
    assert corpus.label_ids == [str(i) for i in range(LABELS)]
    assert corpus.label_names[3] == "Label 3"


def test_byte_order_mark_windows_line_ends_and_order_of_labels_change_nothing(
    root: Path, read: Callable[..., Corpus]
) -> None:
    before = read().fingerprint
    turned = [document | {"target_ind": document["target_ind"][::-1]} for document in documents("b", 12)]
    (root / "tst.json").write_bytes(BOM + lines(turned, end="\r\n"))
    labels = gzip.decompress((root / "lbl.json.gz").read_bytes())
    (root / "lbl.json").write_bytes(BOM + labels.replace(b"\n", b"\r\n"))
    assert read().fingerprint == before


def test_documents_without_text_stay_and_are_told(
    root: Path, read: Callable[..., Corpus], caplog: pytest.LogCaptureFixture
) -> None:
    with_line(root, 5, changed(title=" ", content=""))
    for _ in ("read", "cached"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert read().split("test").texts[4] == ""
        assert "tst.json:5: empty text, kept (1 of 12 documents)" in caplog.text


BAD_LINES = [
    (b'{"uid": "b004", "title": ', r"malformed JSON, Expecting value at column 25.*; expected one JSON object a line"),
    (b"", r"malformed JSON, Expecting value at column 1"),
    (b"[1]", r"expected a JSON object, found '\[1\]'"),
    (b'{"uid": "b004", "title": "\xff"}', r"not UTF-8 .*iconv"),
    (changed(target_ind=[1, 7]), r"label index 7 in 'target_ind' is out of range; there are 7 labels, 0 to 6"),
    (changed(target_ind=[-1]), r"label index -1 in 'target_ind' is out of range"),
    (changed(target_ind=[4, 0, 4]), r"label index 4 stands twice in 'target_ind'; expected each label once"),
    (changed(target_ind=[1.0]), r"field 'target_ind' is \[1.0\]; expected a list of label indices, \[\] for none"),
    (changed(target_ind=None), r"field 'target_ind' is None; expected a list"),
    (changed(uid=None), r"field 'uid' is null; expected an id"),
    (changed(title=5), r"field 'title' is 5; expected a text"),
    (b'{"uid": "b004", "target_ind": []}', r"no field 'title'; it has: target_ind, uid. Set data.text_fields"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[message[:20] for _, message in BAD_LINES])
def test_bad_document(root: Path, read: Callable[..., Corpus], line: bytes, message: str) -> None:
    with_line(root, 5, line)
    with pytest.raises(XMCError, match=rf"tst.json:5: {message}"):
        read()


def test_skipped_documents_are_told_and_shift_nothing(
    root: Path, read: Callable[..., Corpus], caplog: pytest.LogCaptureFixture
) -> None:
    whole = read(id_field=None).split("test")
    with_line(root, 2, BAD_LINES[0][0])
    with_line(root, 5, BAD_LINES[3][0])
    kept = [0, 2, 3, *range(5, 12)]
    for _ in ("read", "cached"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            test = read(id_field=None, on_error="skip").split("test")
        assert "tst.json: skipped 2 of 12 documents; the first: " in caplog.text
        assert "tst.json:2: malformed JSON" in caplog.text
        assert test.fingerprint == whole.select(kept).fingerprint
        assert list(test.texts) == [whole.texts[row] for row in kept]
        assert test.filter.nonzero()[0].tolist() == [1, 1, 5]
    with pytest.raises(XMCError, match="malformed JSON"):
        read(id_field=None)


def test_nothing_to_keep(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "tst.json").write_text("{\n" * 12)
    with pytest.raises(
        XMCError, match=r"tst.json: none of 12 documents can be used; the first: .*tst.json:1: malformed"
    ):
        read(on_error="skip")


def test_message_of_a_repeated_id_after_a_skipped_line(root: Path, read: Callable[..., Corpus]) -> None:
    with_line(root, 2, b"{")
    with_line(root, 5, changed(uid="b000"))
    with pytest.raises(XMCError, match=r"tst.json:5: document id 'b000' stands at .*tst.json:1 already.*null numbers"):
        read(on_error="skip")


@pytest.mark.parametrize("on_error", ["error", "skip"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tst.json", b"", r"tst.json: no documents; fill the file or remove it"),
        (
            "tst_filter_labels.txt",
            b"1 2\n12 0\n",
            r"labels.txt:2: document 12 is out of range, there are 12 from 0 to 11",
        ),
        ("tst_filter_labels.txt", b"1 2\n1 7\n", r"labels.txt:2: label 7 is out of range, there are 7 from 0 to 6"),
        ("tst_filter_labels.txt", b"-1 2\n", r"labels.txt:1: document -1 is out of range"),
        (
            "tst_filter_labels.txt",
            b"1 2 3\n",
            r"labels.txt:1: expected `document label`, two whole numbers, found '1 2 3'",
        ),
        ("tst_filter_labels.txt", b"1 2\n\n", r"labels.txt:2: expected `document label`.*found ''"),
        ("lbl.json", b"", r"lbl.json: no labels; expected one JSON object a line, or no such file"),
        ("lbl.json", b'{"uid": "a"}\n\n', r"lbl.json:2: malformed JSON"),
        ("lbl.json", b'{"uid": "a"}\n{"uid": "a"}\n', r"lbl.json:2: label 'a' stands in line 1 already"),
        (
            "lbl.json",
            b'{"uid": "a"}\n{"title": "b"}\n',
            r"lbl.json:2: expected texts as 'uid' and 'title', found None, 'b'",
        ),
    ],
)
def test_bad_file(
    root: Path, read: Callable[..., Corpus], name: str, content: bytes, message: str, on_error: str
) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(XMCError, match=message):
        read(on_error=on_error)


@pytest.mark.parametrize("on_error", ["error", "skip"])
def test_truncated_gzip(root: Path, read: Callable[..., Corpus], on_error: str) -> None:
    content = gzip.compress(lines(documents("a", 3000)))
    (root / "trn.json.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(XMCError, match=r"trn.json.gz: cannot be read beyond line \d+ .*is it complete"):
        read(on_error=on_error)


def test_missing_train(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "trn.json.gz").rename(root / "train.json.gz")
    with pytest.raises(XMCError, match=r"no file .*trn.json.*LF-Toy has: lbl.json.gz"):
        read()
