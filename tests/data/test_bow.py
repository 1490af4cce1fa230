import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xmc.data.batches import Batches
from xmc.data.bow import BowData, read_rows
from xmc.data.corpus import ArrowTexts, Corpus
from xmc.data.sources import Sources
from xmc.data.tokens import tokenize
from xmc.errors import XMCError
from xmc.model.sparse_features import SparseFeaturesTokenizer

FEATURES, LABELS = 50, 6
BOM = b"\xef\xbb\xbf"


def row(i: int) -> tuple[list[int], dict[int, float]]:
    """Document i has the labels i and 2 i, modulo 6, and every seventh none; every fifth has no features."""
    labels = sorted({i % LABELS, 2 * i % LABELS}) if i % 7 else []
    return labels, {f: 0.25 * (f + 1) for f in sorted({i, 3 * i % FEATURES, 49 - i})} if i % 5 else {}


def lines(count: int, backwards: bool = False) -> list[str]:
    step = -1 if backwards else 1
    return [
        ",".join(map(str, labels[::step])) + " " + " ".join(f"{f}:{v}" for f, v in list(values.items())[::step])
        for labels, values in map(row, range(count))
    ]


def content(count: int, end: str = "\n", backwards: bool = False) -> bytes:
    return "".join(line + end for line in [f"{count} {FEATURES} {LABELS}", *lines(count, backwards)]).encode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "toy_train.txt.gz").write_bytes(gzip.compress(content(40)))
    (folder / "toy_test.txt").write_bytes(content(15))
    (folder / "filter_labels_test.txt").write_text("1 2\n14 4\n")
    return folder


@pytest.fixture
def read(tmp_path: Path, root: Path) -> Callable[..., Corpus]:
    return lambda **options: BowData(root=str(root), cache_dir=str(tmp_path / "cache"), **options).read()


def with_line(root: Path, number: int, line: bytes) -> None:
    """Line `number`, from 1, of the test file, replaced."""
    every = content(15).splitlines()
    every[number - 1] = line
    (root / "toy_test.txt").write_bytes(b"\n".join(every))


def batch_values(corpus: Corpus, folder: Path) -> list[dict[int, float]]:
    """What the encoder would be given of the test split."""
    split = corpus.split("test")
    tokens = tokenize(split, SparseFeaturesTokenizer(FEATURES), 10, folder)
    batch = Batches(tokens, split.labels, 0, 100).batch(np.arange(len(split)))
    rows = zip(batch.input_ids, batch.attention_mask > 0, batch.values, strict=True)
    return [dict(zip(ids[mask].tolist(), values[mask].tolist(), strict=True)) for ids, mask, values in rows]


def test_layout(read: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = read()
    assert (corpus.name, corpus.num_features) == ("toy", FEATURES)
    assert corpus.label_ids == corpus.label_names == [str(i) for i in range(LABELS)]
    for name, count in (("train", 40), ("test", 15)):
        split = corpus.split(name)
        assert isinstance(split.texts, ArrowTexts)
        assert split.ids == [f"{name}-{i}" for i in range(count)]
        assert [np.flatnonzero(labels).tolist() for labels in split.labels.toarray()] == [
            row(i)[0] for i in range(count)
        ]
    assert batch_values(corpus, tmp_path) == [row(i)[1] for i in range(15)]
    assert corpus.split("test").filter.nonzero()[1].tolist() == [2, 4]
    assert corpus.split("train").filter is None


def test_byte_order_mark_windows_line_ends_order_and_blank_ends_change_nothing(
    root: Path, read: Callable[..., Corpus], tmp_path: Path
) -> None:
    before = read()
    (root / "toy_test.txt").write_bytes(BOM + content(15, "\r\n", backwards=True) + b"\r\n\n")
    after = read()
    assert batch_values(after, tmp_path) == batch_values(before, tmp_path)
    assert (after.split("test").labels != before.split("test").labels).nnz == 0


@pytest.mark.parametrize(
    ("line", "labels", "features"),
    [
        (b" 3:1 4:2", [], {3: 1.0, 4: 2.0}),
        (b"3:1 4:2", [], {3: 1.0, 4: 2.0}),
        (b"5,1", [1, 5], {}),
        (b"5,1 ", [1, 5], {}),
        (b"5\t3:1e-2", [5], {3: pytest.approx(0.01)}),
        (b"", [], {}),
        (b" ", [], {}),
    ],
)
def test_a_document_without_labels_or_features(
    root: Path,
    read: Callable[..., Corpus],
    tmp_path: Path,
    line: bytes,
    labels: list[int],
    features: dict[int, float],
) -> None:
    with_line(root, 5, line)
    corpus = read()
    assert np.flatnonzero(corpus.split("test").labels[3].toarray()).tolist() == labels
    assert batch_values(corpus, tmp_path)[3:5] == [features, row(4)[1]]


def test_labels_without_documents_keep_their_place(root: Path, read: Callable[..., Corpus]) -> None:
    for name in ("toy_train.txt.gz", "toy_test.txt"):
        (root / name).unlink()
    (root / "train.txt").write_text("2 9 8\n5 1:1\n5,6 2:1\n")
    corpus = read()
    assert corpus.label_counts("train").tolist() == [0, 0, 0, 0, 0, 2, 1, 0]


BAD_LINES = [
    (b"1,2 3:1 x", r"expected `feature:value`, a whole number and a number, found 'x'"),
    (b"1, 2 3:1", r"expected `label,label feature:value ...`, labels as whole numbers, found '1,'"),
    (b"a 3:1", r"expected `label,label feature:value ...`, labels as whole numbers, found 'a'"),
    (b"6 3:1", r"label index 6 is out of range; there are 6 labels, 0 to 5"),
    (b"-1 3:1", r"label index -1 is out of range"),
    (b"1,0_2 3:1", r"expected `label,label feature:value ...`, labels as whole numbers, found '1,0_2'"),
    ("\u0661 3:1".encode(), r"expected `label,label feature:value ...`, labels as whole numbers"),
    (b"1 1_0:1", r"expected `feature:value`, a whole number and a number, found '1_0:1'"),
    (b"4,0,4 3:1", r"label index 4 stands twice; expected each label once"),
    (b"1 50:1", r"feature 50 is out of range; there are 50 features, 0 to 49"),
    (b"1 3:1 3:1", r"feature 3 stands twice"),
    (b"1 3:nan", r"feature 3 has the value nan"),
    (b"1 3:\xff", r"not UTF-8 .*iconv"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[message[:24] for _, message in BAD_LINES])
def test_bad_document(root: Path, read: Callable[..., Corpus], line: bytes, message: str) -> None:
    with_line(root, 5, line)
    with pytest.raises(XMCError, match=rf"toy_test.txt:5: {message}"):
        read()


def test_skipped_documents_are_told_and_shift_nothing(
    root: Path, read: Callable[..., Corpus], caplog: pytest.LogCaptureFixture
) -> None:
    whole = read().split("test")
    with_line(root, 5, BAD_LINES[0][0])
    with caplog.at_level(logging.WARNING):
        test = read(on_error="skip").split("test")
    assert "toy_test.txt: skipped 1 of 15 documents; the first: " in caplog.text
    assert test.fingerprint == whole.select([0, 1, 2, *range(4, 15)]).fingerprint
    assert test.filter.nonzero()[0].tolist() == [1, 13]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (b"", r"toy_test.txt:1: expected the header `rows features labels`.*found ''"),
        (b"15 50\n", r"toy_test.txt:1: the header tells no number of labels"),
        (b"15 50 6 2\n", r"toy_test.txt:1: expected the header"),
        (b"15 50 -6\n", r"toy_test.txt:1: expected the header"),
        (
            b"15 50 99999999999\n",
            r"toy_test.txt:1: the header tells .*; at most 100000000 features and labels are taken",
        ),
        (b"15 50 2147483647\n", r"toy_test.txt:1: the header tells .*; at most 100000000 features and labels"),
        (b"15 2147483648 6\n", r"toy_test.txt:1: the header tells .*; at most 100000000 features and labels"),
        (b"15 50 0_6\n", r"toy_test.txt:1: expected the header"),
        ("15 50 \u0666\n".encode(), r"toy_test.txt:1: expected the header"),
        (b"15 50 " + b"9" * 5000, r"toy_test.txt:1: expected the header"),
        (b"\xff\n", r"toy_test.txt:1: not UTF-8"),
        (b"0 50 6\n", r"toy_test.txt: no documents; fill the file or remove it"),
        (b"1 51 6\n 1:1\n", r"toy_train.txt.gz tells 50 and 6, .*toy_test.txt tells 51 and 6; the headers of all"),
        (b"2 50 6\n 1:1\n", r"toy_test.txt:1: the header tells 2 rows, the file has 1; is it complete\?"),
        (b"1 50 6\n 1:1\n\n 2:1\n", r"toy_test.txt:4: the header tells 1 rows, and this is one more; correct it"),
    ],
)
def test_bad_file(root: Path, read: Callable[..., Corpus], replaced: bytes, message: str) -> None:
    (root / "toy_test.txt").write_bytes(replaced)
    with pytest.raises(XMCError, match=message):
        read(on_error="skip")


def test_truncated_gzip(root: Path, read: Callable[..., Corpus]) -> None:
    whole = gzip.compress(b"9000 50 6\n" + b"1 3:0.5 4:1\n" * 9000)
    (root / "toy_train.txt.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(XMCError, match=r"toy_train.txt.gz: cannot be read beyond line \d+ .*is it complete"):
        read(on_error="skip")


def test_files_by_other_names(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "toy_train.txt.gz").rename(root / "learn.txt.gz")
    with pytest.raises(XMCError, match=r"toy has no train.\{txt\}, plain or .gz.*filter_labels_test.txt"):
        read()
    assert len(read(files={"train": "learn.txt.gz"}).split("train")) == 40
    (root / "another_test.txt").write_bytes(content(3))
    with pytest.raises(
        XMCError, match=r"has another_test.txt and toy_test.txt; say which one is test: data.files.test"
    ):
        read(files={"train": "learn.txt.gz"})


@pytest.mark.parametrize("header", [b"2 50 6", b"2 50"])
def test_rows_to_predict(tmp_path: Path, header: bytes) -> None:
    first = b"1,2 3:1 4:2" if header.count(b" ") == 2 else b"3:1 4:2"
    rows = [header + b"\r\n", first + b"\r\n", b"\r\n"]
    (tmp_path / "rows.txt.gz").write_bytes(gzip.compress(b"".join(rows)))
    for source in (Sources([str(tmp_path / "rows.txt.gz")]), rows):
        assert list(read_rows(source, 50)) == [("0", "3:1 4:2"), ("1", "")]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([b"1 51"], r"<stdin>:1: the header tells 51 features; the model was trained on 50"),
        ([b"1 50", b"1,2 3:1"], r"<stdin>:2: expected `feature:value`.* found '1,2'"),
        ([b"2 50", b"3:1"], r"<stdin>:1: the header tells 2 rows, the file has 1"),
        ([b'{"text": "a"}'], r"<stdin>:1: expected the header `rows features labels`"),
    ],
)
def test_rows_that_cannot_be_predicted(rows: list[bytes], told: str) -> None:
    with pytest.raises(XMCError, match=told):
        list(read_rows(rows, 50))


def test_rows_that_cannot_be_used_stay_in_their_place_under_skip(caplog: pytest.LogCaptureFixture) -> None:
    lines = [b"3 5\n", b"0:1\n", b"9:1\n", b"1:2\n"]
    first, bad, last = read_rows(lines, 5, "skip")
    assert (first, last) == (("0", "0:1"), ("2", "1:2"))
    assert isinstance(bad, XMCError) and "<stdin>: skipped 1 of 3 documents" in caplog.text
