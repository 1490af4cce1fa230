"""Beside the real Annif, in an environment of its own: XMC_ANNIF_PYTHON is the Python of one with annif 1.4.

Where that environment has what xmc needs, too, the backend in Annif's process is tested in it.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Run

from xmc.data.annif import AnnifData
from xmc.data.pydoc import PydocData

pytestmark = pytest.mark.slow
Annif = Callable[..., str]
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
PUNKT = """
import os, sys
from nltk.tokenize.punkt import PunktTrainer, save_punkt_params
folder = os.path.join(sys.argv[1], "tokenizers", "punkt_tab", "english")
os.makedirs(folder)
save_punkt_params(PunktTrainer("A sentence. And another one.").get_params(), folder)
"""
"""What Annif's analyzers would fetch from the web before they begin."""
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
def annif(tmp_path_factory: pytest.TempPathFactory) -> Annif:
    """Runs that Python, with the package under test, and gives what it writes."""
    if not (python := os.environ.get("XMC_ANNIF_PYTHON")):
        pytest.skip("XMC_ANNIF_PYTHON names no Python of an environment with annif")
    words = tmp_path_factory.mktemp("nltk")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "NLTK_DATA": str(words)}

    def run(*arguments: object, cwd: Path | None = None, input: str = "", fails: bool = False) -> str:
        command = [python, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, input=input)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    run("-c", PUNKT, words)
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
def test_what_annif_reads(tmp_path: Path, annif: Annif, form: str) -> None:
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


SETTINGS = "trainer.epochs=6 encoder.width=64 trainer.batch_size=32"
PROJECTS = f"""
[ours]
language=en
vocab=python
backend=xmc
settings={SETTINGS}

[adopted]
language=en
vocab=python
backend=xmc
limit=20
model={{run}}

[served]
language=en
vocab=python
backend=http
limit=20
endpoint=http://127.0.0.1:{{port}}/v1/projects/run/suggest

[tfidf]
language=en
vocab=python
backend=tfidf
analyzer=simple

[both]
language=en
vocab=python
backend=ensemble
sources={{of_ours}}:3,tfidf:1
"""
FIGURES = {"P@1": "Precision@1", "P@3": "Precision@3", "P@5": "Precision@5", "nDCG@5": "NDCG@5", "F1@5": "F1@5"}


def write_docstrings(folder: Path, train: int, test: int) -> None:
    """Docstrings of this Python that have a label, as Annif's corpora, and the vocabulary."""
    corpus = PydocData(cache_dir=str(folder / "cache")).read()
    for name, count in (("train", train), ("test", test)):
        split = corpus.split(name)
        with (folder / f"{name}.tsv").open("w") as out:
            for row in np.flatnonzero(np.diff(split.labels.indptr))[:count]:
                uris = (f"<http://e.org/{corpus.label_ids[label]}>" for label in split.labels[row].indices)
                print(" ".join(split.texts[int(row)].split()), " ".join(uris), sep="\t", file=out)
    (folder / "vocabulary.tsv").write_text("".join(f"<http://e.org/{label}>\t{label}\n" for label in corpus.label_ids))


@dataclass(frozen=True)
class Installation:
    """An Annif with the vocabulary, and what `xmc evaluate` says of a run on the same corpus."""

    annif: Annif
    folder: Path
    evaluated: dict[str, float]

    def configure(self, **options: object) -> None:
        (self.folder / "projects.cfg").write_text(PROJECTS.format(run=self.folder / "run", **options))

    def command(self, *arguments: object, backend: bool = True, **options: Any) -> str:
        """backend: with ours."""
        module = "xmc.integrations.annif" if backend else "annif.cli"
        start = f"from {module} import {'main' if backend else 'cli'} as main; main()"
        return self.annif("-c", start, *arguments, cwd=self.folder, **options)

    def figures(self, project: str, *arguments: object, backend: bool = True) -> dict[str, float]:
        """Of `annif eval` on the test split, by our names."""
        path = self.folder / f"{project}.json"
        self.command("eval", *arguments, "--metrics-file", path, project, "test.tsv", backend=backend)
        found = json.loads(path.read_text())
        return {name: found[of_annif] for name, of_annif in FIGURES.items()}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, annif: Annif, xmc: Run) -> Installation:
    folder = tmp_path_factory.mktemp("annif")
    write_docstrings(folder, 1200, 200)
    data = ("data=annif", f"data.root={folder}", f"data.cache_dir={folder}/cache")
    xmc("train", *data, *SETTINGS.split(), f"run={folder}/run")
    xmc("evaluate", f"run={folder}/run")
    metrics = json.loads((folder / "run/metrics-test.json").read_text())["metrics"]
    made = Installation(annif, folder, {name: metrics[name] for name in FIGURES})
    made.configure(port=0, of_ours="served")
    made.command("load-vocab", "-L", "en", "python", "vocabulary.tsv", backend=False)
    made.command("train", "tfidf", "train.tsv", backend=False)
    return made


@contextmanager
def served(run: Path) -> Iterator[int]:
    """The port of an `xmc serve` of the run."""
    command = [sys.executable, "-m", "xmc", "serve", "port=0", "threads=1", f"run={run}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield next(int(m[1]) for line in server.stderr if (m := re.search(r"http://127.0.0.1:(\d+)", line)))
        finally:
            server.kill()


def test_served_to_annif(installation: Installation) -> None:
    with served(installation.folder / "run") as port:
        installation.configure(port=port, of_ours="served")
        suggested = installation.command("suggest", "-l", 3, "served", input="urllib parse quote", backend=False)
        assert len(suggested.splitlines()) == 3
        assert installation.figures("served", backend=False) == pytest.approx(installation.evaluated, abs=1e-6)
        both = installation.figures("both", backend=False)
    assert both["F1@5"] > installation.figures("tfidf", backend=False)["F1@5"]


def test_backend_in_annifs_process(installation: Installation) -> None:
    """Training there gives what `xmc train` gives; the figures of both are those of `xmc evaluate`."""
    probe = subprocess.run([os.environ["XMC_ANNIF_PYTHON"], "-c", "import torch, hydra, numba, datasets, transformers"])
    if probe.returncode:
        pytest.skip("the environment of XMC_ANNIF_PYTHON lacks what xmc needs")
    installation.configure(port=0, of_ours="adopted")
    command, evaluated = installation.command, installation.evaluated
    project = installation.folder / "data/projects/ours"
    assert installation.figures("adopted") == pytest.approx(evaluated, abs=1e-6)
    assert evaluated["F1@5"] > 0.2
    suggested = command("suggest", "-l", 3, "adopted", input="urllib parse quote").splitlines()
    assert len(suggested) == 3 and all(line.startswith("<http://e.org/") for line in suggested)
    assert installation.figures("both")["F1@5"] > installation.figures("tfidf")["F1@5"]

    command("train", "ours", "train.tsv")
    assert installation.figures("ours", "--jobs", 2) == pytest.approx(evaluated, abs=0.02), "rounded otherwise there"
    assert [path.name for path in project.iterdir()] == ["model"]
    before = (project / "model/head.safetensors").read_bytes()
    told = command("train", "-b", "xmc.settings=trainer.epoch=1", "ours", "train.tsv", fails=True)
    assert "did you mean" in told and "Traceback" not in told
    assert "trained elsewhere" in command("train", "adopted", "train.tsv", fails=True)
    assert [path.name for path in project.iterdir()] == ["model"], "the model of before, and nothing else"
    assert (project / "model/head.safetensors").read_bytes() == before
