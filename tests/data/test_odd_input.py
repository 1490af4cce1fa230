"""What every layout must take, and what none may take in silence."""

import bz2
import csv
import gzip
import io
import json
import logging
import lzma
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.annif import AnnifData
from xmc.data.corpus import Corpus
from xmc.data.files import file, folder, text_lines
from xmc.data.lightxml import LightXMLData
from xmc.data.pecos import PecosData
from xmc.data.repository import RepositoryData
from xmc.data.table import JsonlData
from xmc.errors import XMCError

# Names that look like what other layouts separate by; the last label has no document.
NAMES = ["a; b, c", "1:2 3:4", 'a "quoted" | x', "<never seen>"]
DOCUMENTS = [
    ("one label", [1]),
    ("no labels", []),
    ("labels twice, and not in order", [2, 0, 2]),
    ("word " * 1_000_000 + "end", [0]),
]
BOM = b"\xef\xbb\xbf"


def records() -> list[dict[str, Any]]:
    return [
        {"id": f"d{i}", "text": text, "labels": [f"l{j}" for j in labels]} for i, (text, labels) in enumerate(DOCUMENTS)
    ]


def names(root: Path) -> None:
    (root / "labels.tsv").write_text("id\tname\n" + "".join(f"l{i}\t{name}\n" for i, name in enumerate(NAMES)))


def jsonl(root: Path) -> Corpus:
    names(root)
    (root / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records()))
    return JsonlData(root=str(root), cache_dir=str(root)).read()


def delimited(root: Path, format: str) -> Corpus:
    names(root)
    out = io.StringIO()
    csv.writer(out, "excel-tab" if format == "tsv" else "excel").writerows(
        [("id", "text", "labels"), *((r["id"], r["text"], ";".join(r["labels"])) for r in records())]
    )
    (root / f"train.{format}").write_text(out.getvalue(), newline="")
    return JsonlData(root=str(root), label_separator=";", cache_dir=str(root)).read()


def parquet(root: Path) -> Corpus:
    names(root)
    pq.write_table(pa.Table.from_pylist(records()), root / "train.parquet")
    return JsonlData(root=str(root), cache_dir=str(root)).read()


def lightxml(root: Path) -> Corpus:
    names(root)
    (root / "train_texts.txt").write_text("".join(record["text"] + "\n" for record in records()))
    (root / "train_labels.txt").write_text("".join(" ".join(record["labels"]) + "\n" for record in records()))
    return LightXMLData(root=str(root), cache_dir=str(root)).read()


def repository(root: Path) -> Corpus:
    with open(root / "trn.json", "w") as out:
        for record, (_, labels) in zip(records(), DOCUMENTS, strict=True):
            targets = list(dict.fromkeys(labels))  # twice is an error here
            document = {"uid": record["id"], "title": record["text"], "content": "", "target_ind": targets}
            out.write(json.dumps(document) + "\n")
    labels = (json.dumps({"uid": f"l{i}", "title": name}) + "\n" for i, name in enumerate(NAMES))
    (root / "lbl.json").write_text("".join(labels))
    return RepositoryData(root=str(root), cache_dir=str(root)).read()


def pecos(root: Path) -> Corpus:
    (root / "X.trn.txt").write_text("".join(record["text"] + "\n" for record in records()))
    (root / "output-items.txt").write_text("".join(name + "\n" for name in NAMES))
    indices = np.array([label for _, labels in DOCUMENTS for label in labels])
    offsets = np.cumsum([0, *(len(labels) for _, labels in DOCUMENTS)])
    arrays = {"data": np.ones(len(indices)), "indices": indices, "indptr": offsets, "format": b"csr"}
    np.savez(root / "Y.trn.npz", shape=(len(DOCUMENTS), len(NAMES)), **arrays)
    return PecosData(root=str(root), cache_dir=str(root)).read()


def annif(root: Path) -> Corpus:
    rows = (f"{record['text']}\t{' '.join(f'<{label}>' for label in record['labels'])}\n" for record in records())
    (root / "train.tsv").write_text("".join(rows))
    (root / "vocabulary.tsv").write_text("".join(f"<l{i}>\t{name}\n" for i, name in enumerate(NAMES)))
    return AnnifData(root=str(root), cache_dir=str(root)).read()


LAYOUTS: dict[str, Callable[[Path], Corpus]] = {
    "jsonl": jsonl,
    "csv": lambda root: delimited(root, "csv"),
    "tsv": lambda root: delimited(root, "tsv"),
    "parquet": parquet,
    "lightxml": lightxml,
    "repository": repository,
    "pecos": pecos,
    "annif": annif,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_takes_odd_documents_and_names(tmp_path: Path, layout: str) -> None:
    corpus = LAYOUTS[layout](tmp_path)
    train = corpus.split("train")
    assert list(train.texts) == [text for text, _ in DOCUMENTS]
    assert corpus.label_names == NAMES
    assert [set(row.indices) for row in train.labels] == [set(labels) for _, labels in DOCUMENTS]
    assert corpus.label_counts("train").tolist() == [2, 1, 1, 0]


TABLES = {
    "jsonl": ['{"id": "a", "text": "ä", "labels": "l"}', '{"id": "b", "text": "y", "labels": "l"}'],
    "csv": ["id,text,labels", "a,ä,l", "b,y,l"],
    "tsv": ["id\ttext\tlabels", "a\tä\tl", "b\ty\tl"],
}


def read_lines(root: Path, format: str, content: bytes, suffix: str = "", **options: Any) -> Corpus:
    (root / f"train.{format}{suffix}").write_bytes(content)
    return JsonlData(root=str(root), cache_dir=str(root / "cache"), **options).read()


@pytest.mark.parametrize("format", TABLES)
def test_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, format: str) -> None:
    plain = read_lines(tmp_path, format, "\n".join(TABLES[format]).encode())
    windows = read_lines(tmp_path, format, BOM + ("\r\n".join(TABLES[format]) + "\r\n").encode())
    assert list(plain.split("train").texts) == ["ä", "y"]
    assert windows.fingerprint == plain.fingerprint


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252"])
def test_json_is_utf8(tmp_path: Path, encoding: str) -> None:
    """What the message advises makes the file readable."""
    root = tmp_path / "it's a set"
    root.mkdir()
    lines = [line.replace("ä", "ä“") if encoding == "windows-1252" else line for line in TABLES["jsonl"]]
    with pytest.raises(XMCError, match=r"train.jsonl:1: not UTF-8 .*e.g. with `iconv -f ") as told:
        read_lines(root, "jsonl", "\n".join(lines).encode(encoding))
    command = str(told.value).split("`")[1]
    (root / "dev.jsonl").write_bytes(subprocess.run(command, shell=True, capture_output=True, check=True).stdout)
    (root / "dev.jsonl").replace(root / "train.jsonl")
    assert JsonlData(root=str(root), cache_dir=str(root / "cache")).read().split("train").texts[0][0] == "ä"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("format", TABLES)
def test_encodings_that_tell_themselves(tmp_path: Path, format: str, encoding: str) -> None:
    train = read_lines(tmp_path, format, "\n".join(TABLES[format]).encode(encoding)).split("train")
    assert list(train.texts) == ["ä", "y"]


@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_encodings_that_are_guessed_and_told(tmp_path: Path, format: str, caplog: pytest.LogCaptureFixture) -> None:
    content = "\n".join(TABLES[format]).replace("ä", "Größe “ä”").encode("cp1252")
    train = read_lines(tmp_path, format, content).split("train")
    assert list(train.texts) == ["Größe “ä”", "y"]
    assert caplog.text.count(f"train.{format}:2: not UTF-8; read as cp1252, which is a guess: convert") == 1
    polish = "\n".join(TABLES[format]).replace("ä", "książka").encode("cp1250")
    assert read_lines(tmp_path, format, polish, encoding="cp1250").split("train").texts[0] == "książka"


@pytest.mark.parametrize("format", TABLES)
def test_truncated_gzip(tmp_path: Path, format: str) -> None:
    whole = gzip.compress(("\n".join(TABLES[format][:-1]) + "\n" + (TABLES[format][-1] + "\n") * 9000).encode())
    with pytest.raises(XMCError, match=rf"train.{format}.gz: cannot be read beyond line \d+ .*is it complete"):
        read_lines(tmp_path, format, whole[: len(whole) // 2], ".gz", on_error="skip")


@pytest.mark.parametrize(
    ("format", "content"), [("jsonl", b"\n\n"), ("csv", b""), ("csv", b"id,text,labels\n"), ("tsv", BOM)]
)
def test_a_table_without_documents(tmp_path: Path, format: str, content: bytes) -> None:
    with pytest.raises(XMCError, match=rf"train.{format}: no documents; fill the file or remove it"):
        read_lines(tmp_path, format, content)


def test_other_files_without_documents(tmp_path: Path) -> None:
    for name in ("train_texts.txt", "train_labels.txt", "X.trn.txt"):
        (tmp_path / name).write_bytes(b"")
    np.savez(tmp_path / "Y.trn.npz", data=[], indices=np.array([], int), indptr=[0], format=b"csr", shape=(0, 3))
    with pytest.raises(XMCError, match=r"train_texts.txt: no documents; fill the file"):
        LightXMLData(root=str(tmp_path), cache_dir=str(tmp_path)).read()
    with pytest.raises(XMCError, match=r"X.trn.txt: no documents; fill the file"):
        PecosData(root=str(tmp_path), cache_dir=str(tmp_path)).read()
    pq.write_table(pa.table({"id": pa.array([], pa.string())}), tmp_path / "train.parquet")
    with pytest.raises(XMCError, match=r"train.parquet: no documents; fill the file"):
        JsonlData(root=str(tmp_path), cache_dir=str(tmp_path)).read()


BAD = {
    "jsonl": [
        (b'{"text": "x", "labels": ["l"', "malformed JSON"),
        (b'{"text": "\xff", "labels": []}', "not UTF-8"),
        (b'{"text": " ", "labels": []}', "empty text"),
        (b'{"text": "x"}', "no field 'labels'"),
    ],
    "csv": [(b"x", "1 fields; the header has 2"), (b'" ",l', "empty text")],
    "tsv": [(b"x\tl\tm", "3 fields; the header has 2"), (b" \tl", "empty text")],
}


@pytest.mark.parametrize(("format", "bad", "told"), [(format, *case) for format in BAD for case in BAD[format]])
def test_skipped_documents_are_told_and_shift_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, format: str, bad: bytes, told: str
) -> None:
    if format == "jsonl":
        lines = [json.dumps({"text": f"text {i}", "labels": [f"l{i}"]}).encode() for i in range(4)]
    else:
        tab = "\t" if format == "tsv" else ","
        lines = [
            f"{text}{tab}{label}".encode()
            for text, label in [("text", "labels"), *((f"text {i}", f"l{i}") for i in range(4))]
        ]
    lines[-3] = bad
    with caplog.at_level(logging.WARNING):
        corpus = read_lines(tmp_path, format, b"\n".join(lines), id_field=None, on_error="skip")
    assert f"train.{format}: skipped 1 of 4 documents; the first: " in caplog.text
    assert f"train.{format}:{len(lines) - 2}: {told}" in caplog.text
    train = corpus.split("train")
    assert list(zip(train.ids, train.texts, strict=True)) == [(f"train-{i}", f"text {i}") for i in (0, 2, 3)]
    assert corpus.label_ids == ["l0", "l2", "l3"]
    with pytest.raises(XMCError, match=rf"train.{format}:{len(lines) - 2}: {told}"):
        JsonlData(root=str(tmp_path), id_field=None, cache_dir=str(tmp_path / "cache")).read()


def test_damaged_parquet_is_told_in_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(records()), tmp_path / "train.parquet")
    content = bytearray((tmp_path / "train.parquet").read_bytes())
    content[4:40] = b"\xff" * 36  # the header of the first page
    (tmp_path / "train.parquet").write_bytes(content)
    with pytest.raises(XMCError, match=r"train.parquet: cannot be read beyond row 0 \(.*\); is it complete") as refused:
        JsonlData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read()
    assert "\n" not in str(refused.value)


def test_skipped_rows_of_parquet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"text": text, "labels": [text]} for text in ("a", "", "c")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    with caplog.at_level(logging.WARNING):
        train = (
            JsonlData(root=str(tmp_path), id_field=None, on_error="skip", cache_dir=str(tmp_path / "cache"))
            .read()
            .split("train")
        )
    assert "train.parquet: skipped 1 of 3 documents; the first: " in caplog.text
    assert (train.ids, list(train.texts)) == (["train-0", "train-2"], ["a", "c"])


JSON = {
    "deep": ('{"text": "x", "labels": ' + "[" * 20_000 + "]" * 20_000 + "}", "malformed JSON, nested too deep"),
    "deep enough": ('{"text": "x", "labels": ' + "[" * 500 + "]" * 500 + "}", "malformed JSON, nested too deep"),
    "digits": ('{"text": "x", "labels": [' + "1" * 5000 + "]}", "malformed JSON, Exceeds the limit"),
    "twice": ('{"text": "x", "labels": [], "text": "y"}', "the key 'text' stands twice in an object"),
    "within": ('{"text": "x", "labels": [], "more": {"a": 1, "a": 1}}', "the key 'a' stands twice in an object"),
    "nan": ('{"text": "x", "labels": [NaN]}', "nan in field 'labels' is no label id"),
    "infinity": ('{"text": Infinity, "labels": []}', "field 'text' is inf"),
}


@pytest.mark.parametrize("kind", JSON)
def test_odd_json_is_one_documents_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    bad, told = JSON[kind]
    content = f'{{"text": "a [{"[" * 300}", "labels": ["l"], "price": NaN}}\n{bad}\n'.encode()
    with pytest.raises(XMCError, match=rf"train.jsonl:2: {told}"):
        read_lines(tmp_path, "jsonl", content, id_field=None)
    train = read_lines(tmp_path, "jsonl", content, id_field=None, on_error="skip").split("train")
    assert len(train) == 1 and f"train.jsonl:2: {told}" in caplog.text


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr("xmc.data.lines._LONGEST", 10_000)
    content = b'{"text": "' + b"x" * 1_000_000
    if suffix == ".zst":
        content = pa.compress(content, "zstd", asbytes=True)
    elif suffix:
        content = {".gz": gzip, ".xz": lzma}[suffix].compress(content)
    with pytest.raises(
        XMCError, match=r"train.jsonl.*:1: a line of more than 10,000 bytes; expected a document a line"
    ):
        read_lines(tmp_path, "jsonl", content, suffix, on_error="skip")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_stream_cut_short(tmp_path: Path, suffix: str) -> None:
    content = "".join(f'{{"id": "{i}", "text": "x", "labels": "l"}}\n' for i in range(9000)).encode()
    if suffix == ".zst":
        whole = pa.compress(content, "zstd", asbytes=True)
    else:
        whole = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(content)
    with pytest.raises(XMCError, match=rf"train.jsonl{suffix}: cannot be read beyond line \d+ .*is it complete"):
        read_lines(tmp_path, "jsonl", whole[: len(whole) // 2], suffix, on_error="skip")


def test_a_vocabulary_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("id\tname\n" + "a\tb\n" * 10_000)
    lines = text_lines(path)
    next(lines)
    path.write_text("id\tname\na\tb\n")
    with pytest.raises(XMCError, match=r"labels.tsv changed while it was read; repeat the command"):
        list(lines)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("elsewhere")
    for open_ in (file, folder):
        with pytest.raises(XMCError, match=r"loop cannot be opened \(Too many levels of symbolic links\)$"):
            open_(tmp_path / "loop")
        with pytest.raises(XMCError, match=r"gone is a link to elsewhere, which is not there$"):
            open_(tmp_path / "gone")
        with pytest.raises(XMCError, match=r"xxx cannot be opened \(File name too long\)$"):
            open_(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_must_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch(0o200)
    with pytest.raises(XMCError, match=r"train.jsonl cannot be opened \(Permission denied\)$"):
        JsonlData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read()
    tmp_path.chmod(0o300)
    with pytest.raises(XMCError, match=r"cannot be read \(Permission denied\)"):
        JsonlData(root=str(tmp_path), cache_dir=str(tmp_path / "cache")).read()
