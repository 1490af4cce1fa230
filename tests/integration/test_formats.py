"""Train, evaluate and predict on the published layouts, written here from the small corpus."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import WORDS, Run, small
from scipy.sparse import csr_matrix, save_npz

LABELS = sorted(WORDS)
SHORT = {"train": "trn", "test": "tst"}
Documents = list[dict[str, Any]]


def splits(corpus: Path) -> Iterator[tuple[str, Documents]]:
    for split in SHORT:
        with open(corpus / f"{split}.jsonl") as stream:
            yield split, [json.loads(line) for line in stream]


def repository(corpus: Path, root: Path) -> None:
    """The first half of the test documents are their own first label, and so must leave it out."""
    for split, documents in splits(corpus):
        with gzip.open(root / f"{SHORT[split]}.json.gz", "wt") as out:
            for document in documents:
                title, _, content = document["text"].partition(" ")
                targets = sorted(map(LABELS.index, document["labels"]))
                record = {"uid": document["id"], "title": title, "content": content, "target_ind": targets}
                out.write(json.dumps(record | {"target_rel": [1.0] * len(targets)}) + "\n")
        pairs = [f"{i} {LABELS.index(document['labels'][0])}\n" for i, document in enumerate(documents)]
        half = pairs[: len(pairs) // 2] if split == "test" else []
        (root / f"{SHORT[split]}_filter_labels.txt").write_text("".join(half))
    with gzip.open(root / "lbl.json.gz", "wt") as out:
        for label in LABELS:
            out.write(json.dumps({"uid": label, "title": f"The topic {label[5:]}", "content": ""}) + "\n")


def pecos(corpus: Path, root: Path) -> None:
    for split, documents in splits(corpus):
        (root / f"X.{SHORT[split]}.txt").write_text("".join(document["text"] + "\n" for document in documents))
        rows = [row for row, document in enumerate(documents) for _ in document["labels"]]
        columns = [LABELS.index(label) for document in documents for label in document["labels"]]
        matrix = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(documents), len(LABELS)))
        save_npz(root / f"Y.{SHORT[split]}.npz", matrix)
    (root / "output-items.txt").write_text("".join(label + "\n" for label in LABELS))


def lightxml(corpus: Path, root: Path) -> None:
    for split, documents in splits(corpus):
        (root / f"{split}_raw_texts.txt").write_text("".join(document["text"] + "\n" for document in documents))
        (root / f"{split}_labels.txt").write_text("".join(" ".join(doc["labels"]) + "\n" for doc in documents))


def annif(corpus: Path, root: Path) -> None:
    for split, documents in splits(corpus):
        rows = [(doc["text"], " ".join(f"<http://t/{label}>" for label in doc["labels"])) for doc in documents]
        with open(root / f"{split}.{'tsv' if split == 'train' else 'csv'}", "w") as out:
            if split == "train":
                out.writelines(f"{text}\t{uris}\n" for text, uris in rows)
            else:
                csv.writer(out).writerows([("text", "subject_uris"), *rows])
    (root / "vocabulary.tsv").write_text("".join(f"<http://t/{label}>\tName of {label}\n" for label in LABELS))


WRITERS: list[Callable[[Path, Path], None]] = [repository, pecos, lightxml, annif]


@pytest.fixture(scope="module", params=WRITERS, ids=lambda writer: writer.__name__)
def run(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    """A run on the layout, in a folder of the layout's name."""
    folder = tmp_path_factory.mktemp("formats") / request.param.__name__
    (folder / "data").mkdir(parents=True)
    request.param(corpus, folder / "data")
    data = [f"data={folder.name}", f"data.root={folder / 'data'}", f"data.cache_dir={folder / 'cache'}"]
    one_label = ["metrics.ks=[1]", "trainer.metric=P@1"]  # a list of one, from which a filter leaves nothing to move up
    xmc("train", *small(corpus, f"run={folder / 'run'}", *data, *one_label))
    return folder / "run"


def predicted(run: Path, corpus: Path, xmc: Run, *arguments: object) -> str:
    return xmc("predict", f"run={run}", f"input={corpus / 'test.jsonl'}", "text_fields=[text]", *arguments).stdout


def test_evaluate(run: Path, corpus: Path, xmc: Run) -> None:
    xmc("evaluate", f"run={run}", "split=test")
    report = json.loads((run / "metrics-test.json").read_text())
    documents = dict(splits(corpus))["test"]
    assert (report["documents"], report["labels"]) == (len(documents), len(LABELS))
    hidden = 1 if run.parent.name == "repository" else 0
    left = [len(doc["labels"]) - hidden * (i < len(documents) // 2) for i, doc in enumerate(documents)]
    assert report["unlabelled"] == left.count(0)
    assert report["metrics"]["P@1"] > 0.9 * (1 - left.count(0) / len(left))


def test_predictions_as_scores(run: Path, corpus: Path, xmc: Run) -> None:
    documents = dict(splits(corpus))["test"]
    head, *rows = predicted(run, corpus, xmc, "format=scores", "k=4").splitlines()
    assert head == f"{len(documents)} {len(LABELS)}"
    lists = [json.loads(line) for line in predicted(run, corpus, xmc, "k=4").splitlines()]
    with open(run / "model" / "labels.jsonl") as stream:
        order = [json.loads(line)["id"] for line in stream]
    for row, ranked in zip(rows, lists, strict=True):
        entries = [(float(score), int(column)) for column, score in (entry.split(":") for entry in row.split())]
        assert [order[column] for _, column in sorted(entries, reverse=True)] == [p["label"] for p in ranked["labels"]]


@pytest.mark.parametrize("run", [repository], indirect=True, ids=["repository"])
def test_predictions_for_the_test_file_itself(run: Path, corpus: Path, xmc: Run) -> None:
    told = xmc("predict", f"run={run}", f"input={run.parent / 'data' / 'tst.json.gz'}", "id_field=uid", "k=1").stdout
    documents = dict(splits(corpus))["test"]
    lists = [json.loads(line) for line in told.splitlines()]
    assert [ranked["id"] for ranked in lists] == [document["id"] for document in documents]
    hits = sum(one["labels"][0]["label"] in doc["labels"] for one, doc in zip(lists, documents, strict=True))
    assert hits > 0.9 * len(documents)


@pytest.mark.parametrize("run", [annif], indirect=True, ids=["annif"])
def test_predictions_for_annif(run: Path, corpus: Path, xmc: Run) -> None:
    documents = dict(splits(corpus))["test"]
    told = [json.loads(line) for line in predicted(run, corpus, xmc, "format=annif", "k=1").splitlines()]
    assert [record["document_id"] for record in told] == [document["id"] for document in documents]
    hits = sum(
        record["results"][0]["uri"].removeprefix("http://t/") in document["labels"]
        for record, document in zip(told, documents, strict=True)
    )
    assert hits > 0.9 * len(documents)
    best = told[0]["results"][0]
    assert best["label"] == "Name of " + best["uri"].removeprefix("http://t/")


def test_bad_documents_of_a_set(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    pecos(corpus, tmp_path)
    lines = (tmp_path / "X.trn.txt").read_bytes().splitlines()
    lines[6] = b"\xff"
    (tmp_path / "X.trn.txt").write_bytes(b"\n".join(lines))
    data = ["data=pecos", f"data.root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}"]
    overrides = small(corpus, f"run={tmp_path / 'run'}", "trainer.max_steps=3", *data)
    refused = xmc("train", *overrides, check=False)
    assert refused.returncode == 1
    assert f"{tmp_path / 'X.trn.txt'}:7: not UTF-8" in refused.stderr
    assert "X.trn.txt: skipped 1 of 400 documents" in xmc("train", *overrides, "data.on_error=skip").stderr
