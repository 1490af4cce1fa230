import gzip
import itertools
import logging
from pathlib import Path

import pytest

from xmc.data.documents import read_documents, read_examples
from xmc.data.sources import Sources
from xmc.errors import XMCError

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
    assert list(read_documents(Sources([str(path)]), ["text"], id_field=None)) == [("1", "one"), ("3", "two")]


def test_one_document_is_read_at_a_time() -> None:
    endless = (b'{"text": "again"}\n' for _ in itertools.count())
    assert next(read_documents(endless, ["text"])) == ("1", "again")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "b"', r"<stdin>:2: malformed JSON, .* at column 13: .*; expected one JSON object a line"),
        (b"[1]", r"<stdin>:2: expected a JSON object, found '\[1\]'"),
        (b'{"txt": "b"}', r"<stdin>:2: no field 'text' \(did you mean 'txt'\?\); it has: txt. Set text_fields=<field>"),
        (b'{"id": "q", "text": " "}', r"<stdin>:2: empty text: nothing in 'text' of document 'q'; give it a text"),
        (b'{"text": 5}', r"<stdin>:2: field 'text' is 5; expected a text"),
        (rb'{"text": "\ud83d"}', r"<stdin>:2: malformed JSON, half of a surrogate pair"),
        (b'{"text": "\xff"}', r"<stdin>:2: not UTF-8"),
        (b'{"id": null, "text": "b"}', r"<stdin>:2: field 'id' is null; expected an id.* id_field= numbers"),
        (b'{"id": 1.0, "text": "b"}', r"<stdin>:2: field 'id' is 1.0; expected an id"),
        (b'{"text": "b", "text": "c"}', r"<stdin>:2: the key 'text' stands twice in an object; rename or remove one"),
        (b'{"a": {"b": 1, "b": 1}, "text": "b"}', r"<stdin>:2: the key 'b' stands twice in an object"),
        (b'{"text": ' + b"[" * 100_000, r"<stdin>:2: malformed JSON, nested too deep"),
        (b'{"id": ' + b"1" * 5000 + b', "text": "b"}', r"<stdin>:2: malformed JSON, Exceeds the limit"),
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
        next(read_documents(Sources([str(tmp_path / "doc.jsonl")]), ["text"]))


def test_examples_have_labels(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("text,labels\none,a;b c\ntwo,\n")
    assert list(read_examples(path, ["text"], label_separator=";")) == [("one", ["a", "b c"]), ("two", [])]
    with pytest.raises(XMCError, match=r"new.csv:2: no field 'subject'"):
        list(read_examples(path, ["text"], "subject"))


MIXED = [b'{"id": "a", "text": "x"}', b'{"id": "b", "text": ""}', b'{"id": null, "text": "x"}', b"{", b'{"text": "y"}']


def test_documents_that_cannot_be_used_stay_in_their_place_under_skip(caplog: pytest.LogCaptureFixture) -> None:
    found = list(read_documents(MIXED, ["text"], on_error="skip"))
    assert [document if isinstance(document, tuple) else type(document) for document in found] == [
        *(("a", "x"), XMCError, XMCError, XMCError, ("5", "y"))
    ]
    assert "skipped: <stdin>:2: empty text: nothing in 'text' of document 'b'" in caplog.text
    assert "skipped: <stdin>:3: field 'id' is null" in caplog.text
    assert "<stdin>: skipped 3 of 5 documents" in caplog.text


def test_an_error_says_how_to_skip() -> None:
    with pytest.raises(XMCError, match=r"<stdin>:2: empty text.*remove it. on_error=skip leaves out such documents"):
        list(read_documents(MIXED, ["text"]))


def test_nothing_but_documents_that_cannot_be_used(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(XMCError, match=r"<stdin>: none of 40 documents can be used; the first: <stdin>:1: empty text"):
        list(read_documents([b'{"text": " "}'] * 40, ["text"], on_error="skip"))
    assert caplog.text.count("skipped: ") == 10, "the first few are listed"


def test_a_field_much_like_that_of_the_ids_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(read_documents([b'{"Id": "a", "text": "x"}'] * 2, ["text"])) == [("1", "x"), ("2", "x")]
    assert caplog.messages == [
        "<stdin>: no field 'id' (did you mean 'Id'?): documents are called by their lines; set id_field"
    ]
    caplog.clear()
    list(read_documents([b'{"text": "x"}', b'{"Id": "a", "text": "x"}'], ["text"], id_field=None))
    assert not caplog.messages


def test_examples_that_cannot_be_used_are_left_out_under_skip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "new.csv"
    path.write_text('text,labels\none,"a,b"\n,a\nthree,"b,c"\n')
    assert list(read_examples(path, ["text"], label_separator=",", on_error="skip")) == [
        *(("one", ["a", "b"]), ("three", ["b", "c"]))
    ]
    assert "new.csv: skipped 1 of 3 documents" in caplog.text
    with pytest.raises(XMCError, match=r"new.csv:3: empty text.*on_error=skip leaves out"):
        list(read_examples(path, ["text"], label_separator=","))


def test_another_separator_of_examples_is_advised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "new.csv"
    path.write_text('text,labels\none,"a,b"\ntwo,"b,a"\n')
    list(read_examples(path, ["text"], label_separator=";"))
    assert """Set 'label_separator=","' if these are several labels""" in caplog.text
