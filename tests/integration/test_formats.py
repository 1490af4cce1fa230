"""Train, evaluate and predict on the published layouts, written here from the small corpus."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import WORDS, Finished, Run, small, write_bow
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


def bow(corpus: Path, root: Path) -> None:
    write_bow(corpus, root)


WRITERS: list[Callable[[Path, Path], None]] = [repository, pecos, lightxml, annif, bow]
ENCODERS = {"bow": ["encoder=sparse_features", "encoder.width=32"]}


@pytest.fixture(scope="module", params=WRITERS, ids=lambda writer: writer.__name__)
def run(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    """A run on the layout, in a folder of the layout's name."""
    folder = tmp_path_factory.mktemp("formats") / request.param.__name__
    (folder / "data").mkdir(parents=True)
    request.param(corpus, folder / "data")
    data = [f"data={folder.name}", f"data.root={folder / 'data'}", f"data.cache_dir={folder / 'cache'}"]
    one_label = ["metrics.ks=[1]", "trainer.metric=P@1"]  # a list of one, from which a filter leaves nothing to move up
    xmc(
        "train",
        *small(corpus, f"run={folder / 'run'}", "trainer.epochs=4", *data, *ENCODERS.get(folder.name, []), *one_label),
    )
    return folder / "run"


def predict(run: Path, corpus: Path, xmc: Run, *arguments: object, check: bool = True) -> Finished:
    documents = [f"input={corpus / 'test.jsonl'}", "text_fields=[text]"]
    if run.parent.name == "bow":
        documents = [f"input={run.parent / 'data' / 'toy_test.txt'}"]
    return xmc("predict", f"run={run}", *documents, *arguments, check=check)


def predicted(run: Path, corpus: Path, xmc: Run, *arguments: object) -> str:
    return predict(run, corpus, xmc, *arguments).stdout


def read_sparse_file(text: str) -> csr_matrix:
    """A matrix as pyxclib's function of this name reads it: `rows columns`, then `column:value ...` a row, from 0."""
    head, *lines = text.removesuffix("\n").split("\n")
    rows, columns = map(int, head.split(" "))
    entries = [[entry.split(":") for entry in line.split(" ")] if line else [] for line in lines]
    assert len(entries) == rows
    indices = [int(column) for row in entries for column, _ in row]
    values = np.array([value for row in entries for _, value in row], dtype=np.float32)
    assert all(row == sorted(row, key=lambda entry: int(entry[0])) for row in entries)
    return csr_matrix((values, indices, np.cumsum([0, *map(len, entries)])), shape=(rows, columns))


def test_evaluate(run: Path, corpus: Path, xmc: Run) -> None:
    xmc("evaluate", f"run={run}", "split=test")
    report = json.loads((run / "metrics-test.json").read_text())
    documents = dict(splits(corpus))["test"]
    assert (report["documents"], report["labels"]) == (len(documents), len(LABELS))
    hides = {"repository": lambda i: i < len(documents) // 2, "bow": lambda i: i % 2 == 0}
    hidden = hides.get(run.parent.name, lambda i: False)
    left = [len(doc["labels"]) - hidden(i) for i, doc in enumerate(documents)]
    assert report["unlabelled"] == left.count(0)
    assert report["metrics"]["P@1"] > 0.9 * (1 - left.count(0) / len(left))


def test_predictions_as_scores(run: Path, corpus: Path, xmc: Run) -> None:
    scores = read_sparse_file(predicted(run, corpus, xmc, "format=scores", "k=4"))
    assert scores.shape == (len(dict(splits(corpus))["test"]), len(LABELS))
    with open(run / "model" / "labels.jsonl") as stream:
        order = [json.loads(line)["id"] for line in stream]
    lists = [json.loads(line)["labels"] for line in predicted(run, corpus, xmc, "k=4").splitlines()]
    for row, ranked in zip(scores, lists, strict=True):
        best = np.argsort(-row.data, kind="stable")
        assert [order[column] for column in row.indices[best]] == [one["label"] for one in ranked]
        assert row.data[best] == pytest.approx([one["score"] for one in ranked], abs=1e-6)


@pytest.mark.parametrize("run", [repository], indirect=True, ids=["repository"])
def test_predictions_for_the_test_file_itself(run: Path, corpus: Path, xmc: Run) -> None:
    told = xmc("predict", f"run={run}", f"input={run.parent / 'data' / 'tst.json.gz'}", "id_field=uid", "k=1").stdout
    documents = dict(splits(corpus))["test"]
    lists = [json.loads(line) for line in told.splitlines()]
    assert [ranked["id"] for ranked in lists] == [document["id"] for document in documents]
    hits = sum(one["labels"][0]["label"] in doc["labels"] for one, doc in zip(lists, documents, strict=True))
    assert hits > 0.9 * len(documents)


@pytest.mark.parametrize("run", [repository, bow], indirect=True, ids=["repository", "bow"])
def test_predictions_leave_out_what_a_filter_tells(run: Path, corpus: Path, xmc: Run, tmp_path: Path) -> None:
    path = run.parent / "data" / "tst_filter_labels.txt"
    pairs = {tuple(map(int, line.split())) for line in path.read_text().splitlines()}
    with open(run / "model" / "labels.jsonl") as stream:
        place = {json.loads(line)["id"]: column for column, line in enumerate(stream)}

    def ranked(*arguments: object) -> list[list[int]]:
        told = predicted(run, corpus, xmc, "batch_size=7", *arguments).splitlines()
        return [[place[one["label"]] for one in json.loads(line)["labels"]] for line in told]

    whole, left = ranked(f"k={len(LABELS)}"), ranked("k=2", f"filter={path}")
    assert left == [[label for label in row if (i, label) not in pairs][:2] for i, row in enumerate(whole)]
    assert left != [row[:2] for row in whole]
    beyond = tmp_path / "filter.txt"
    beyond.write_text(f"0 1\n{len(whole)} 1\n")
    refused = predict(run, corpus, xmc, f"filter={beyond}", f"output={tmp_path / 'out'}", check=False)
    assert f"{beyond}:2: document {len(whole)} is out of range, there are {len(whole)}" in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("run", [bow], indirect=True, ids=["bow"])
def test_sparse_features_are_counted_and_are_no_text(run: Path, corpus: Path, xmc: Run) -> None:
    data = [f"data.root={run.parent / 'data'}", f"data.cache_dir={run.parent / 'cache'}", *ENCODERS["bow"]]
    table = xmc("flops", "data=bow", *data, "classifier.fan_in=8").stdout
    (macs,) = (
        float(line.split("|")[2].replace(",", "")) for line in table.splitlines() if "encoder.backbone |" in line
    )
    assert 5 * 32 < macs < 18 * 32, "distinct words of a document, times the width"
    refused = xmc("predict", f"run={run}", f"input={corpus / 'test.jsonl'}", check=False)
    assert "test.jsonl:1: expected the header `rows features labels`" in refused.stderr
    assert "leave it out" in predict(run, corpus, xmc, "text_fields=[text]", check=False).stderr


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


def test_a_synthetic_set(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    data = ["data=synthetic", f"data.cache_dir={tmp_path / 'cache'}", "data.num_words=200"]
    size = ["data.num_labels=300", "data.num_documents=1500", "encoder.width=128", "classifier.fan_in=32"]
    xmc("train", *small(corpus, f"run={tmp_path / 'run'}", *data, *size, "trainer.epochs=4", "trainer.eval_every=400"))
    xmc("evaluate", f"run={tmp_path / 'run'}", "split=test")
    assert json.loads((tmp_path / "run" / "metrics-test.json").read_text())["metrics"]["P@1"] > 0.6
    with open(tmp_path / "run" / "model" / "labels.jsonl") as stream:
        label = json.loads(stream.readline())
    told = xmc("predict", f"run={tmp_path / 'run'}", "input=-", "k=1", input=json.dumps({"text": label["name"]}))
    (best,) = json.loads(told.stdout)["labels"]
    assert (best["label"], best["name"]) == ("label-0", label["name"])


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
