import gzip
import logging
import sys
from pathlib import Path

import pytest

from xmc.data.annif import AnnifData
from xmc.data.vocabulary import read_vocabulary, vocabulary_in
from xmc.errors import XMCError

CSV = "uri,label_fi,notation,label_en\n<u:2>,kaksi,2,two\nu:1,yksi,,\nu:old,,,\nu:3,,3,three\nu:4,neljä,,\n"
TURTLE = """
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
<u:3> a skos:Concept ; rdfs:label "three"@en .
<u:2> a skos:Concept ; skos:prefLabel "two"@en, "kaksi"@fi ; rdfs:label "passed over"@en ; skos:altLabel "pair"@en .
<u:1> a skos:Concept ; skos:prefLabel "yksi"@fi .
<u:4> a skos:Concept ; skos:prefLabel "4" , "neljä"@fi .
<u:5> a skos:Concept .
<u:old> a skos:Concept ; skos:prefLabel "old"@en ; owl:deprecated true .
<u:scheme> a skos:ConceptScheme ; rdfs:label "all"@en .
[] a skos:Concept ; skos:prefLabel "nameless"@en .
"""
XML = """<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:skos="http://www.w3.org/2004/02/skos/core#">
<skos:Concept rdf:about="u:1"><skos:prefLabel xml:lang="en">one
 and only</skos:prefLabel></skos:Concept></rdf:RDF>"""


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (None, {"u:2": "kaksi", "u:1": "yksi", "u:3": "u:3", "u:4": "neljä"}),
        ("EN", {"u:2": "two", "u:1": "u:1", "u:3": "three", "u:4": "u:4"}),
    ],
)
def test_csv(tmp_path: Path, language: str | None, expected: dict[str, str]) -> None:
    path = tmp_path / "v.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + CSV.encode()))
    found = read_vocabulary(path, language, tmp_path)
    assert list(found.items()) == list(expected.items()), "the order is the file's"


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (None, {"u:1": "yksi", "u:2": "kaksi", "u:3": "u:3", "u:4": "neljä", "u:5": "u:5"}),
        ("en", {"u:1": "u:1", "u:2": "two", "u:3": "three", "u:4": "4", "u:5": "u:5"}),
    ],
)
def test_skos(tmp_path: Path, language: str | None, expected: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("rdflib", reason="needs xmc[skos]")
    path = tmp_path / "v.ttl.gz"
    path.write_bytes(gzip.compress(TURTLE.encode()))
    with caplog.at_level(logging.INFO):
        assert list(read_vocabulary(path, language, tmp_path / "cache").items()) == list(expected.items())
    assert ("names in 'fi', as most have one; data.language takes others: en, fi" in caplog.text) == (language is None)


def test_other_forms_of_rdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rdflib = pytest.importorskip("rdflib", reason="needs xmc[skos]")
    graph = rdflib.Graph().parse(data=XML, format="xml")
    for suffix, form in {"rdf": "xml", "nt": "nt", "n3": "n3", "turtle": "turtle", "xml": "xml"}.items():
        path = tmp_path / f"vocabulary.{suffix}"
        graph.serialize(path, format=form)
        assert vocabulary_in(tmp_path) == path
        assert read_vocabulary(path, None, tmp_path) == {"u:1": "one and only"}
        with monkeypatch.context() as without:
            without.setitem(sys.modules, "rdflib", None)
            assert read_vocabulary(path, "en", tmp_path) == {"u:1": "one and only"}, "parsed once"
        path.unlink()


def test_without_rdflib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdflib", None)
    (tmp_path / "v.ttl").write_text(TURTLE)
    with pytest.raises(XMCError, match=r"v.ttl: reading SKOS needs the package rdflib: pip install 'xmc\[skos\]'"):
        read_vocabulary(tmp_path / "v.ttl", None, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.csv", "uri,name\nu,U\n", r"v.csv: columns name, uri; expected uri and label_<language> in the header"),
        ("v.csv", "uri,label_en\n,U\n", r"v.csv:2: no uri"),
        ("v.csv", "uri,label_en\nu,U\n<u>,V\n", r"v.csv:3: label 'u' stands in line 2 already"),
        ("v.csv", "uri,label_en\nu\n", r"v.csv:2: 1 fields; the header has 2"),
        ("v.csv", "uri,label_en\nu,\n", r"v.csv: no labels; expected a row for each below the header uri,label_"),
        ("v.csv", "uri,label_de,label_en\nu,U,\nv,,V\n", r"v.csv: no names in 'fr'; it has them in de, en. Set data.l"),
        ("v.jsonld", "{}", r"v.jsonld is not read as a vocabulary; convert it to Turtle"),
        ("v.ttl", "@prefix\n\nno", r"v.ttl: cannot be read as turtle \(at line 3 .* is it complete"),
        ("v.rdf", "<a>\n<b", r"v.rdf: cannot be read as xml \(.*:2:"),
        ("v.nt", "<u:a> <u:b>\n", r"v.nt: cannot be read as nt"),
        ("v.ttl.gz", TURTLE, r"v.ttl.gz: cannot be read as turtle \(Not a gzipped file"),
        ("v.ttl", "", r"v.ttl: no labels; expected skos:Concept"),
    ],
)
def test_bad_vocabularies(tmp_path: Path, name: str, content: str, message: str) -> None:
    if name.split(".")[1] in ("ttl", "rdf", "nt"):
        pytest.importorskip("rdflib", reason="needs xmc[skos]")
    (tmp_path / name).write_text(content)
    with pytest.raises(XMCError, match=message):
        read_vocabulary(tmp_path / name, "fr" if "label_de" in content else None, tmp_path)


def test_which_of_several(tmp_path: Path) -> None:
    assert vocabulary_in(tmp_path) is None
    for name in ("vocabulary.ttl.gz", "vocabulary.nt", "vocabulary.csv", "vocabulary.tsv"):
        (tmp_path / name).touch()
        assert vocabulary_in(tmp_path) == tmp_path / name


@pytest.mark.parametrize(
    ("content", "kind"), [("@prefix skos: <http://www.w3.org/2004/02/skos/core#> .\n", "ttl"), ("<?xml v?>\n", "rdf")]
)
def test_skos_in_a_file_named_as_tsv(tmp_path: Path, content: str, kind: str) -> None:
    (tmp_path / "v.tsv").write_text(content)
    with pytest.raises(XMCError, match=rf"v.tsv begins as SKOS does, '.*; rename it to v.{kind}"):
        read_vocabulary(tmp_path / "v.tsv", None, tmp_path)


def test_a_vocabulary_as_the_shell_completes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train.tsv").write_text("Bees\t<u:1>\n")
    (tmp_path / "corpus" / "gnd.tsv").write_text("<u:1>\tInsects\n")
    for name in ("gnd.tsv", "corpus/gnd.tsv"):
        given = {"root": "corpus", "vocabulary": name, "files": {"train": "corpus/train.tsv"}}
        assert AnnifData(**given, cache_dir=str(tmp_path)).read().label_names == ["Insects"]
    with pytest.raises(XMCError, match=r"no file corpus/gnb.tsv \(did you mean 'gnd.tsv'"):
        AnnifData(root="corpus", vocabulary="gnb.tsv", cache_dir=str(tmp_path)).read()
