import gzip
import os
from pathlib import Path

import pytest

from xmc.data.documents import read_documents
from xmc.data.sources import Sources
from xmc.errors import XMCError


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)


def read(*given: str) -> list[tuple[str, str]]:
    return [document for document in read_documents(Sources(given), ["text"]) if not isinstance(document, XMCError)]


def test_files_patterns_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, b_jsonl='{"text": "3"}\n{"id": "x", "text": "4"}\n', a_csv="text\n1\n2\n", c_txt="no table\n")
    write(tmp_path / "deep" / "er", d_jsonl='{"text": "5"}\n')
    write(tmp_path / ".hidden", e_jsonl='{"text": "6"}\n')
    (tmp_path / "deep" / "z.jsonl.gz").write_bytes(gzip.compress(b'{"text": "7"}\n'))
    assert read("b.jsonl") == [("1", "3"), ("x", "4")], "alone, by lines as ever"
    assert read("b.jsonl", "a.csv") == [("b.jsonl:1", "3"), ("x", "4"), ("a.csv:2", "1"), ("a.csv:3", "2")]
    assert read("?.jsonl") == [("b.jsonl:1", "3"), ("x", "4")]
    assert read("*.*") == [("a.csv:2", "1"), ("a.csv:3", "2"), ("b.jsonl:1", "3"), ("x", "4"), ("c.txt", "no table\n")]
    assert read(".") == [
        *(("a.csv:2", "1"), ("a.csv:3", "2"), ("b.jsonl:1", "3"), ("x", "4")),
        *(("deep/er/d.jsonl:1", "5"), ("deep/z.jsonl.gz:1", "7")),
    ]
    assert read("**/*.jsonl") == [("b.jsonl:1", "3"), ("x", "4"), ("deep/er/d.jsonl:1", "5")]
    assert Sources(["b.jsonl", "deep/er"]).count() == 3 and Sources(["a.csv"]).count() is None


def test_a_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    write(tmp_path, **{"[a]_jsonl": '{"text": "1"}\n'})
    assert read(str(tmp_path / "[a].jsonl")) == [("1", "1")]


def test_texts_are_documents(tmp_path: Path) -> None:
    write(tmp_path / "one", b_txt="Bees\nand wasps", a_txt="\ufeffAnts")
    write(tmp_path / "two", c_txt="Moths")
    assert read(str(tmp_path)) == [("one/a.txt", "Ants"), ("one/b.txt", "Bees\nand wasps"), ("two/c.txt", "Moths")]
    assert read(str(tmp_path / "two" / "c.txt")) == [("c.txt", "Moths")]
    assert Sources([str(tmp_path)]).count() == 3
    (tmp_path / "two" / "d.txt").write_bytes(b"\xff\x01")
    (tmp_path / "two" / "e.txt").write_text(" \n")
    found = list(read_documents(Sources([str(tmp_path / "two")]), ["text"], on_error="skip"))
    assert found[0] == ("c.txt", "Moths")
    assert ["d.txt:1: neither UTF-8" in str(found[1]), "e.txt: empty text" in str(found[2])] == [True, True]


def test_parquet_is_counted(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "x.parquet")
    assert Sources([str(tmp_path)]).count() == 2


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "docs.jsonl").touch()
    for given, told in [
        ("empty", "empty has no documents; expected files named .jsonl"),
        ("*.csv", "no file matches .*; give a pattern of files"),
        ("doc.jsonl", r"no file .*doc.jsonl \(did you mean 'docs.jsonl'\?\)"),
    ]:
        with pytest.raises(XMCError, match=told):
            Sources([str(tmp_path / given)])


def test_the_state_is_another_once_a_file_is(tmp_path: Path) -> None:
    write(tmp_path, a_jsonl='{"text": "1"}\n', b_jsonl='{"text": "2"}\n')
    before = Sources([str(tmp_path)]).state()
    assert Sources([str(tmp_path)]).state() == before
    os.utime(tmp_path / "a.jsonl", (1, 1))
    after = Sources([str(tmp_path)]).state()
    assert after != before
    write(tmp_path, c_jsonl="")
    assert Sources([str(tmp_path)]).state() not in (before, after)
