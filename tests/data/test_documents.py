import gzip
import itertools
from pathlib import Path

import pytest

from xmc.data.documents import read_documents, read_examples
from xmc.types import XMCError

LINES = [b'{"id": "x", "title": "T", "text": "one"}\n', b"\n", b'{"text": "two", "title": ""}\n']


def test_byte_order_mark_and_surrogate_pair() -> None:
    lines = [b"\xef\xbb\xbf" + rb'{"text": "\ud83d\ude00"}']
    assert list(read_documents(lines, ["text"])) == [("1", "\U0001f600")]


def test_stream() -> None:
    assert list(read_documents(LINES, ["title", "text"])) == [("x", "T\none"), ("3", "two")]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"docs.jsonl{suffix}"
    path.write_bytes(gzip.compress(b"".join(LINES)) if suffix else b"".join(LINES))
    assert list(read_documents(path, ["text"], id_field=None)) == [("1", "one"), ("3", "two")]


def test_one_document_is_read_at_a_time() -> None:
    endless = (b'{"text": "again"}\n' for _ in itertools.count())
    assert next(read_documents(endless, ["text"])) == ("1", "again")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "b"', r"<stdin>:2: malformed JSON, .* at column 13: .*; expected one JSON object a line"),
        (b"[1]", r"<stdin>:2: expected a JSON object, found '\[1\]'"),
        (b'{"txt": "b"}', r"<stdin>:2: no field 'text' \(did you mean 'txt'\?\); it has: txt. Set data.text_fields"),
        (b'{"id": "q", "text": " "}', r"<stdin>:2: empty text: nothing in 'text' of document 'q'; give it a text"),
        (b'{"text": 5}', r"<stdin>:2: field 'text' is 5; expected a text"),
        (rb'{"text": "\ud83d"}', r"<stdin>:2: malformed JSON, half of a surrogate pair"),
        (b'{"text": "\xff"}', r"<stdin>:2: not UTF-8"),
        (b'{"id": null, "text": "b"}', r"<stdin>:2: field 'id' is null; expected an id"),
    ],
)
def test_bad_line(line: bytes, message: str) -> None:
    read = read_documents([b'{"text": "a"}\n', line], ["text"])
    assert next(read) == ("1", "a")
    with pytest.raises(XMCError, match=message):
        next(read)


def test_missing_file(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").touch()
    with pytest.raises(XMCError, match=r"no file .*doc.jsonl \(did you mean 'docs.jsonl'\?\)"):
        next(read_documents(tmp_path / "doc.jsonl", ["text"]))


def test_examples_have_labels(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("text,labels\none,a;b c\ntwo,\n")
    assert list(read_examples(path, ["text"], label_separator=";")) == [("one", ["a", "b c"]), ("two", [])]
    with pytest.raises(XMCError, match=r"new.csv:2: no field 'subject'"):
        list(read_examples(path, ["text"], "subject"))
