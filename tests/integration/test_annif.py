"""Beside the real Annif, in an environment of its own: XMC_ANNIF_PYTHON is the Python of one with annif."""

import gzip
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xmc.data.annif import AnnifData

pytestmark = pytest.mark.slow
READS = """
import json, sys
from annif.cli_util import open_documents
from annif.vocab.skos import VocabFileSKOS
from annif.vocab.subject_file import VocabFileCSV, VocabFileTSV
from annif.vocab.subject_index import SubjectIndexFile
vocabulary, language, *paths = sys.argv[1:]
if VocabFileSKOS.is_rdf_file(vocabulary):
    source = VocabFileSKOS(vocabulary)
else:
    source = VocabFileCSV(vocabulary) if vocabulary.endswith(".csv") else VocabFileTSV(vocabulary, language)
index = SubjectIndexFile()
index.load_subjects(source)
read = {path: [] for path in paths}
for path in paths:
    for document in open_documents((path,), index, language, None).documents:
        uris = sorted(index[subject].uri for subject in document.subject_set)
        read[path].append([document.document_id, document.text.strip(), uris])
json.dump([{subject.uri: subject.labels[language] for _, subject in index.active}, read], sys.stdout)
"""
SKOS = "http://www.w3.org/2004/02/skos/core#"
TURTLE = (
    f"""@prefix skos: <{SKOS}> . @prefix owl: <http://www.w3.org/2002/07/owl#> .
"""
    + "".join(
        f'<http://e.org/{i}> a skos:Concept ; skos:prefLabel "Subject {i}"@en, "Aihe {i}"@fi ; skos:notation "{i}" .\n'
        for i in range(6)
    )
    + '<http://e.org/old> a skos:Concept ; skos:prefLabel "Subject 0"@en ; owl:deprecated true .'
)
VOCABULARIES = {
    "ttl": TURTLE,
    "csv": "uri,notation,label_en,label_fi\n"
    + "".join(f"http://e.org/{i},{i},Subject {i},Aihe {i}\n" for i in range(6))
    + "http://e.org/old,,,\n",
    "tsv": "".join(f"<http://e.org/{i}>\tSubject {i}\t{i}\n" for i in range(6)),
}


@pytest.fixture(scope="module")
def annif() -> Callable[..., str]:
    """Runs that Python and gives what it writes."""
    if not (python := os.environ.get("XMC_ANNIF_PYTHON")):
        pytest.skip("XMC_ANNIF_PYTHON names no Python of an environment with annif")

    def run(*arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run([python, *arguments], capture_output=True, text=True, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def write_corpora(root: Path) -> dict[str, Path]:
    """The same twelve documents in each form."""
    subjects = [[f"http://e.org/{i % 6}", f"http://e.org/{i % 5}"] for i in range(12)]
    texts = [f'Words, "{i}" ä' for i in range(12)]
    (root / "train.tsv").write_text(
        "".join(f"{text}\t{' '.join(f'<{uri}>' for uri in uris)}\n" for text, uris in zip(texts, subjects, strict=True))
    )
    quoted = [text.replace('"', '""') for text in texts]
    rows = (
        f'"{text}","{uris[0]} <{uris[1]}>",d{i},x\n'
        for i, (text, uris) in enumerate(zip(quoted, subjects, strict=True))
    )
    (root / "rows.csv").write_text("text,subject_uris,document_id,title\n" + "".join(rows))
    (root / "rows.csv.gz").write_bytes(gzip.compress((root / "rows.csv").read_bytes()))
    documents = [
        {
            "text": text,
            "document_id": f"j{i}",
            "metadata": {"title": "x"},
            "subjects": [{"uri": uris[0]}, {"label": f"Subject {uris[1][-1]}"}],
        }
        for i, (text, uris) in enumerate(zip(texts, subjects, strict=True))
    ]
    (root / "lines.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    folder = root / "folder"
    folder.mkdir()
    for i, (text, uris) in enumerate(zip(texts, subjects, strict=True)):
        names = [f"Subject {uri[-1]}" for uri in uris]
        if i % 3 == 2:
            (folder / f"{i}.json").write_text(json.dumps(documents[i]))
            continue
        (folder / f"{i}.txt").write_text(f"\ufeff{text}\n")
        if i % 3:
            (folder / f"{i}.key").write_text("".join(f"{name}\n" for name in names))
        else:
            (folder / f"{i}.tsv").write_text("".join(f"<{u}>\t{n}\n" for u, n in zip(uris, names, strict=True)))
    return {name: root / name for name in ("train.tsv", "rows.csv", "rows.csv.gz", "lines.jsonl", "folder")}


@pytest.mark.parametrize("form", VOCABULARIES)
def test_what_annif_reads(tmp_path: Path, annif: Callable[..., str], form: str) -> None:
    if form == "ttl":
        pytest.importorskip("rdflib", reason="needs xmc[skos]")
    root = tmp_path / "set"
    root.mkdir()
    corpora = write_corpora(root)
    vocabulary = root / f"vocabulary.{form}"
    vocabulary.write_text(VOCABULARIES[form])
    names, read = json.loads(annif("-c", READS, str(vocabulary), "en", *map(str, corpora.values())))
    for name, path in corpora.items():
        data = AnnifData(root=str(root), files={"train": name}, language="en", cache_dir=str(tmp_path / "cache"))
        corpus = data.read()
        assert dict(zip(corpus.label_ids, corpus.label_names, strict=True)) == names
        train = corpus.split("train")
        ours: list[Any] = [
            [text, sorted(corpus.label_ids[label] for label in np.flatnonzero(row))]
            for text, row in zip(train.texts, train.labels.toarray(), strict=True)
        ]
        assert ours == [document[1:] for document in read[str(path)]]
        assert all(told in (None, id_) for id_, (told, *_) in zip(train.ids, read[str(path)], strict=True))
