import gzip
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xmc.data.annif import AnnifData
from xmc.data.corpus import Corpus
from xmc.errors import XMCError

URIS = [f"http://example.org/subject/{i}" for i in range(5)]
SKOS = '<u:1> a <http://www.w3.org/2004/02/skos/core#Concept>; <http://www.w3.org/2004/02/skos/core#prefLabel> "One" .'
GOOD = f"a text\t<{URIS[0]}>\n"


def subjects(i: int) -> list[str]:
    return [] if i % 9 == 8 else sorted({URIS[i % 5], URIS[(i + 2) % 5]})


def tsv(count: int) -> str:
    return "".join(f'title "{i}\t{" ".join(f"<{uri}>" for uri in subjects(i))}\n' for i in range(count))


def csv(count: int) -> str:
    rows = (f'"title ""{i}",{" ".join(subjects(i))},x\n' for i in range(count))
    return "text,subject_uris,note\n" + "".join(rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "kirjat"
    folder.mkdir()
    (folder / "train.tsv.gz").write_bytes(gzip.compress(tsv(36).encode()))
    (folder / "test.csv").write_text(csv(12))
    lines = (f"<{uri}>\tSubject {i}\tnotation\n" for i, uri in reversed(list(enumerate(URIS))))
    (folder / "vocabulary.tsv").write_text("".join(lines) + "<http://example.org/never>\tnever seen\n")
    return folder


@pytest.fixture
def read(tmp_path: Path, root: Path) -> Callable[..., Corpus]:
    return lambda **options: AnnifData(root=str(root), cache_dir=str(tmp_path / "cache"), **options).read()


def test_layout(read: Callable[..., Corpus]) -> None:
    corpus = read()
    assert corpus.name == "kirjat"
    assert corpus.label_ids == [*URIS[::-1], "http://example.org/never"]
    assert corpus.label_names == [*(f"Subject {i}" for i in reversed(range(5))), "never seen"]
    for name, count in (("train", 36), ("test", 12)):
        split = corpus.split(name)
        assert split.ids == [f"{name}-{i}" for i in range(count)]
        assert list(split.texts) == [f'title "{i}' for i in range(count)]
        for i, row in enumerate(split.labels.toarray()):
            assert {corpus.label_ids[column] for column in np.flatnonzero(row)} == set(subjects(i))


def test_vocabulary_of_the_data_and_other_names(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "vocabulary.tsv").rename(root / "yso.tsv")
    (root / "test.csv").rename(root / "validate.csv")
    corpus = read(files={"test": "validate.csv"})
    assert corpus.label_ids == corpus.label_names == URIS
    assert len(corpus.split("test")) == 12
    assert read(vocabulary="yso.tsv").label_names[0] == "Subject 4"
    with pytest.raises(XMCError, match=r"no file .*yso.csv .did you mean 'yso.tsv'"):
        read(vocabulary="yso.csv")


def test_a_vocabulary_in_several_languages(root: Path, read: Callable[..., Corpus]) -> None:
    """Names of documents' subjects are those of the language that is chosen."""
    (root / "vocabulary.tsv").unlink()
    rows = (f"<{uri}>,{f'Sujet {i}' if i else ''},Subject {i}\n" for i, uri in enumerate(URIS))
    (root / "vocabulary.csv").write_text("uri,label_fr,label_en\n" + "".join(rows))
    write_folder(root / "dev", 12)
    (root / "dev/00.key").unlink()
    assert read().label_names == [f"Subject {i}" for i in range(5)]
    assert read().label_counts("dev").tolist() == read().label_counts("test").tolist()
    with pytest.raises(XMCError, match=r"'Subject .', which is not in .*vocabulary.csv"):
        read(language="fr")
    (root / "dev").rename(root / "other")
    assert read(language="fr").label_names == [URIS[0], *(f"Sujet {i}" for i in range(1, 5))]


def test_byte_order_mark_windows_line_ends_and_blank_lines_change_nothing(
    root: Path, read: Callable[..., Corpus]
) -> None:
    before = read().fingerprint
    (root / "train.tsv.gz").write_bytes(gzip.compress(("\ufeff" + tsv(36).replace("\n", "\r\n") + "\r\n").encode()))
    for name in ("test.csv", "vocabulary.tsv"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read().fingerprint == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test.tsv", GOOD + "no tab\n", r"test.tsv:2: expected `text<TAB><uri> <uri>`, found 'no tab'"),
        ("test.tsv", GOOD + "\n \t<u>\n", r"test.tsv:3: empty text; give the document a text or remove it"),
        ("test.tsv", "", r"test.tsv: no documents; fill the file"),
        (
            "test.tsv",
            "text\t<http://example.org/other>\n",
            r"test.tsv:1: .*'http://example.org/other', which is not in",
        ),
        ("test.csv", 'text,subject_uris\na,<u>\n"",<u>\n', r"test.csv:3: empty text"),
        ("test.csv", "text,subject_uris\na\n", r"test.csv:2: 1 fields; the header has 2: text, subject_uris"),
        ("test.csv", 'text,subject_uris\n"a,u\n', r"test.csv:2: malformed CSV"),
        ("test.csv", "text,subjects\na,u\n", r"test.csv: columns subjects, text; expected text and subject_uris"),
        ("vocabulary.tsv", "<u>\tU\n<>\tempty\n", r"vocabulary.tsv:2: expected `<uri><TAB>label`, found '<>\\tempty'"),
        ("vocabulary.tsv", "<u>\tU\nu\tagain\n", r"vocabulary.tsv:2: label 'u' stands in line 1 already"),
        ("vocabulary.tsv", "", r"vocabulary.tsv: no labels; expected `<uri><TAB>label` a line"),
    ],
)
def test_bad_input(root: Path, read: Callable[..., Corpus], name: str, content: str, message: str) -> None:
    if name.startswith("test"):
        (root / "test.csv").unlink()
    (root / name).write_text(content)
    with pytest.raises(XMCError, match=message):
        read()


def test_not_utf8(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "train.tsv.gz").write_bytes(gzip.compress(GOOD.encode() + b"\xe4\t<u>\n"))
    with pytest.raises(XMCError, match=r"train.tsv.gz:2: not UTF-8"):
        read()


@pytest.mark.parametrize("on_error", ["error", "skip"])
def test_truncated_gzip(root: Path, read: Callable[..., Corpus], on_error: str) -> None:
    content = gzip.compress(tsv(5000).encode())
    (root / "train.tsv.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(XMCError, match=r"train.tsv.gz: cannot be read beyond line \d+ .*is it complete"):
        read(on_error=on_error)


def test_skipped_documents_are_told_and_shift_nothing(
    root: Path, read: Callable[..., Corpus], caplog: pytest.LogCaptureFixture
) -> None:
    whole = read()
    lines = tsv(36).encode().splitlines(keepends=True)
    lines[3], lines[10] = b"no tab\n", b"\xff\t<u>\n"
    (root / "train.tsv.gz").write_bytes(gzip.compress(b"".join(lines)))
    rows = csv(12).splitlines(keepends=True)
    rows[1] = '" ",u,x\n'
    (root / "test.csv").write_text("".join(rows))
    with caplog.at_level(logging.WARNING):
        corpus = read(on_error="skip")
    assert "train.tsv.gz: skipped 2 of 36 documents; the first: " in caplog.text
    assert "test.csv: skipped 1 of 12 documents; the first: " in caplog.text
    kept = [row for row in range(36) if row not in (3, 10)]
    assert corpus.split("train").fingerprint == whole.split("train").select(kept).fingerprint
    assert corpus.split("test").fingerprint == whole.split("test").select(range(1, 12)).fingerprint


def test_unknown_format(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "dev.parquet").write_text("{}\n")
    (root / "dev").mkdir()
    assert "dev" not in read().splits
    with pytest.raises(XMCError, match=r"dev.parquet: format not known; expected a name in .tsv, .csv, .jsonl, plain"):
        read(files={"dev": "dev.parquet"})
    (root / "train.tsv.gz").unlink()
    with pytest.raises(XMCError, match=r"kirjat has no train.\{tsv,csv,jsonl\}, plain or .gz"):
        read()


def json_document(i: int, **more: object) -> dict[str, object]:
    told = [{"uri": uri} if row else {"label": f" Subject {URIS.index(uri)} "} for row, uri in enumerate(subjects(i))]
    return {"text": f'title "{i}', "subjects": told, **more}


def write_folder(folder: Path, count: int) -> None:
    """Documents in turn as text with .tsv, with .key, compressed, and as JSON."""
    folder.mkdir()
    for i in range(count):
        text, uris = folder / f"{i:02}.txt", subjects(i)
        match i % 4:
            case 0:
                text.write_text(f'\ufefftitle "{i}\r\n')
                text.with_suffix(".tsv").write_text("".join(f"<{uri}>\tany name\n\n" for uri in uris))
                text.with_suffix(".key").write_text("passed over\n")
            case 1:
                text.write_text(f'title "{i}\n')
                text.with_suffix(".key").write_text("".join(f"Subject {URIS.index(uri)}\tx\n" for uri in uris))
            case 2:
                Path(f"{text}.gz").write_bytes(gzip.compress(f'title "{i}'.encode()))
                lines = "".join(f"\tSubject {URIS.index(uri)}\n" for uri in uris)
                Path(f"{text.with_suffix('.key')}.gz").write_bytes(gzip.compress(lines.encode()))
            case 3:
                text.with_suffix(".json").write_text(json.dumps(json_document(i), indent=1))


def test_folders_and_json_lines(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "test.csv").unlink()
    write_folder(root / "test", 12)
    (root / "dev.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(json_document(i, metadata={"a": "b"})) + "\n" for i in range(12)).encode())
    )
    corpus = read()
    in_order = [*(i for i in range(12) if i % 4 < 3), *range(3, 12, 4)]
    names = [f"test/{i:02}.{('txt', 'txt', 'txt.gz', 'json')[i % 4]}" for i in in_order]
    assert corpus.split("test").ids == names, "as Annif: texts first"
    assert corpus.split("dev").ids == [f"dev-{i}" for i in range(12)]
    for name, order in (("test", in_order), ("dev", range(12))):
        assert list(corpus.split(name).texts) == [f'title "{i}' for i in order]
        for i, row in zip(order, corpus.split(name).labels.toarray(), strict=True):
            assert {corpus.label_ids[column] for column in np.flatnonzero(row)} == set(subjects(i))
    (root / "test").rename(root / "more")
    assert read(files={"test": "more"}).fingerprint == corpus.fingerprint
    assert read(files={"test": "mor*"}).fingerprint == corpus.fingerprint


def test_names_without_a_vocabulary_are_ids(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "vocabulary.tsv").unlink()
    (root / "dev.jsonl").write_text(json.dumps({"text": "a", "subjects": [{"label": "one  name"}]}) + "\n")
    assert read().label_ids == [*URIS, "one name"]


def test_of_subjects_with_one_name_the_last_is_meant(root: Path, read: Callable[..., Corpus]) -> None:
    with (root / "vocabulary.tsv").open("a") as out:
        out.write("<u:last>\tSubject 1\n")
    (root / "dev.jsonl").write_text(json.dumps({"text": "a", "subjects": [{"label": "Subject 1"}]}) + "\n")
    assert read().label_counts("dev").tolist() == [0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dev.jsonl", '{"text": "a", "subjects": []}\n{"text": "a"}\n', r"dev.jsonl:2: None as the subjects; expected"),
        (
            "dev.jsonl",
            '{"text": "a", "subjects": ["u"]}\n',
            r"dev.jsonl:1: the subject 'u'; expected \{\"uri\": <text>",
        ),
        ("dev.jsonl", '{"text": 1, "subjects": []}\n', r"dev.jsonl:1: 1 as the text; expected a text"),
        ("dev.jsonl", '{"metadata": {}, "subjects": []}\n', r"dev.jsonl:1: empty text; give the document a text"),
        (
            "dev.jsonl",
            '{"text": "a", "subjects": [], "document_id": []}\n',
            r"dev.jsonl:1: field 'document_id' is \[\]",
        ),
        ("test/c.json", "{", r"test/c.json: malformed JSON"),
        ("test/c.txt", "a text", r"test/c.txt: no c.tsv or c.key beside it; write its subjects there, a line each"),
        ("test/a.txt", " \n", r"test/a.txt: empty text"),
        ("test/a.txt", "a\n\udce4\n", r"test/a.txt:2: not UTF-8"),
        ("test/a.tsv", "a\n\udce4\n", r"test/a.tsv:2: not UTF-8"),
        ("test/a.tsv", "<u:none>\n", r"test/a.txt: document 'test/a.txt' has the label 'u:none', which is not in"),
        ("test/a.tsv", "Subject 9\n", r"test/a.txt: .* has the label 'Subject 9', which is not in"),
    ],
)
def test_bad_folders_and_json(
    root: Path, read: Callable[..., Corpus], name: str, content: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "test.csv").unlink()
    (root / "test").mkdir()
    for document in "ab":
        (root / "test" / f"{document}.txt").write_text("a text")
        (root / "test" / f"{document}.tsv").write_text(f"<{URIS[0]}>\n")
    if name.startswith("dev"):
        content += '{"text": "good", "subjects": []}\n'
    (root / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(XMCError, match=message):
        read()
    split = read(on_error="skip").split(name.split("/")[0].split(".")[0])
    assert split.ids[-1] in ("test/b.txt", "dev-1", "dev-2")
    assert re.search(r"test: skipped 1 of [23]|left out 1 label|dev.jsonl: skipped 1 of [23]", caplog.text)


def test_an_id_where_the_file_has_one(root: Path, read: Callable[..., Corpus]) -> None:
    (root / "test.csv").write_text("document_id,text,subject_uris\nd1,one,\n,two,\n")
    assert read().split("test").ids == ["d1", "test-1"]
    assert read(id_field=None).split("test").ids == ["test-0", "test-1"]
    (root / "dev.jsonl").write_text(json.dumps(json_document(1, document_id="d1")) + "\n")
    with pytest.raises(XMCError, match=r"test.csv:2: document id 'd1' stands at .*dev.jsonl:1 already.*null numbers"):
        read()


def test_a_folder_and_a_file_of_one_split(root: Path, read: Callable[..., Corpus]) -> None:
    write_folder(root / "train", 4)
    with pytest.raises(XMCError, match=r"has train and train.tsv.gz; say which one is train: data.files.train=train"):
        read()
    assert len(read(files={"train": "train"}).split("train")) == 4


def corpus(folder: Path, *lines: str, name: str = "train.tsv") -> Path:
    folder.mkdir()
    (folder / name).write_text("".join(line + "\n" for line in lines))
    return folder


WRONG = ["two\tof its words\t<u:1>", "two\tof its words", "two\tof <u:1>"]


@pytest.mark.parametrize("line", WRONG)
@pytest.mark.parametrize("bad_first", [False, True])
def test_a_tab_too_many(tmp_path: Path, line: str, bad_first: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Words of the text do not become labels, wherever in the file they stand."""
    lines = ["one\t<u:1> urn:x:2", "three\thttp://e.org/3 <u:2> u:4"]
    lines.insert(0 if bad_first else 1, line)
    folder = corpus(tmp_path / "set", *lines)
    with pytest.raises(XMCError, match=rf"train.tsv:{1 if bad_first else 2}: the subject 'of' is no URI, .* a tab too"):
        AnnifData(root=str(folder), cache_dir=str(tmp_path)).read()
    read = AnnifData(root=str(folder), on_error="skip", cache_dir=str(tmp_path)).read()
    assert list(read.split("train").texts) == ["one", "three"]
    assert "train.tsv: skipped 1 of 3 documents" in caplog.text


def test_subjects_that_are_no_uris_at_all(tmp_path: Path) -> None:
    assert AnnifData(
        root=str(corpus(tmp_path / "set", "one\ta b", "two\tb")), cache_dir=str(tmp_path)
    ).read().label_ids == ["a", "b"]


def test_a_subject_that_the_vocabulary_lacks_is_left_out_under_skip(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = corpus(tmp_path / "set", "one\t<u:1> <u:9>", "two\t<u:8>", "three\t<u:2>")
    (folder / "vocabulary.tsv").write_text("<u:1>\tOne\n<u:2>\tTwo\n")
    with pytest.raises(XMCError, match=r"train.tsv:1: document 'train-0' has the label 'u:9', which is not in"):
        AnnifData(root=str(folder), cache_dir=str(tmp_path)).read()
    train = AnnifData(root=str(folder), on_error="skip", cache_dir=str(tmp_path)).read().split("train")
    assert train.labels.toarray().tolist() == [[1, 0], [0, 0], [0, 1]], "the documents stay"
    assert "train.tsv:1: left out 2 labels of 2 documents that are not in" in caplog.text
    assert "the first: 'u:9' of document 'train-0'" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("yso.tsv", "<u:1>\tOne\n", "data.vocabulary=yso.tsv"),
        ("yso.txt", "u:1\tOne\n", "data.vocabulary=yso.txt"),
        ("vocab.csv", "uri,label_en\nu:1,One\n", "data.vocabulary=vocab.csv"),
        ("yso.ttl", SKOS, "data.vocabulary=yso.ttl"),
        ("more.csv", "text,subject_uris\none,u:1\n", None),
        ("validate.tsv", "one\t<u:1>\n", None),
        ("notes.txt", "one\n", None),
        ("empty.tsv", "", None),
        ("broken.tsv", "\ud800", None),
    ],
)
def test_a_vocabulary_of_another_name_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str, told: str | None
) -> None:
    if name.endswith("ttl"):
        pytest.importorskip("rdflib", reason="needs xmc[skos]")
    folder = corpus(tmp_path / "set", "one\t<u:1>", "two\t<u:1>")
    (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    AnnifData(root=str(folder), cache_dir=str(tmp_path)).read()
    assert caplog.text == "" if told is None else told in caplog.text
    if told and told.startswith("data.vocabulary="):
        caplog.clear()
        remedied = AnnifData(root=str(folder), vocabulary=told.partition("=")[2], cache_dir=str(tmp_path)).read()
        assert (remedied.label_names, caplog.text) == (["One"], "")


def test_a_vocabulary_as_the_shell_completes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train.tsv").write_text("a text\t<http://e/1>\n")
    (tmp_path / "corpus" / "gnd.tsv").write_text("<http://e/1>\tone\n")
    monkeypatch.chdir(tmp_path)
    read = AnnifData(root="corpus", vocabulary="corpus/gnd.tsv", cache_dir=str(tmp_path / "cache")).read()
    assert read.label_names == ["one"]
