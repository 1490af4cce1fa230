import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.data.documents import read_documents
from xmc.data.lines import Arriving, standard_input


@given(st.lists(st.binary(max_size=9), max_size=9), st.none() | st.integers(1, 12))
def test_lines_are_those_of_the_same_bytes_in_memory(parts: list[bytes], size: int | None) -> None:
    text = b"\n".join(parts)
    source, sink = os.pipe()
    os.write(sink, text)
    os.close(sink)
    arriving, expected = Arriving(source), io.BytesIO(text)
    while line := expected.readline(-1 if size is None else size):
        assert arriving.ready() and arriving.readline(size) == line
    assert arriving.ready() and arriving.readline(size) == b""
    os.close(source)


def test_what_is_not_there_yet_can_be_told() -> None:
    source, sink = os.pipe()
    arriving = Arriving(source)
    assert not arriving.ready()
    os.write(sink, b'{"text": "a"}\n{"text"')
    assert arriving.ready() and arriving.readline() == b'{"text": "a"}\n'
    assert not arriving.ready(), "half a line"
    os.write(sink, b': "b"}\n')
    assert arriving.ready()
    os.close(sink)
    assert list(read_documents(arriving, ["text"])) == [("1", "b")]
    os.close(source)


def test_utf_16_arrives_as_well() -> None:
    source, sink = os.pipe()
    os.write(sink, '{"text": "ä"}\n{"text": "b"}\n'.encode("utf-16"))
    os.close(sink)
    assert list(read_documents(Arriving(source), ["text"])) == [("1", "ä"), ("2", "b")]
    os.close(source)


def test_a_file_on_standard_input_is_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").write_bytes(b"x\n")
    with open(tmp_path / "in") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert standard_input() is stream.buffer
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    assert not isinstance(standard_input(), Arriving)
    source, sink = os.pipe()
    with os.fdopen(source) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert isinstance(standard_input(), Arriving)
    os.close(sink)
