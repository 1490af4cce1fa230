"""The corpus in every layout that is read, a few KB each."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix, save_npz

from .stage import SPLITS, TOPICS

LABELS = sorted(TOPICS)
SHORT = {"train": "trn", "test": "tst"}
NAMES = "id\tname\n" + "".join(f"{label}\tThe topic {label[5:]}\n" for label in LABELS)


def _places(document: dict) -> list[int]:
    return sorted(map(LABELS.index, document["labels"]))


def jsonl(root: Path) -> None:
    for split, documents in SPLITS.items():
        (root / f"{split}.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    (root / "labels.tsv").write_text(NAMES)


def _separated(root: Path, kind: str, separator: str) -> None:
    for split, documents in SPLITS.items():
        with open(root / f"{split}.{kind}", "w", newline="") as out:
            rows = [(document["id"], document["text"], ";".join(document["labels"])) for document in documents]
            csv.writer(out, delimiter=separator).writerows([("id", "text", "labels"), *rows])
    (root / "labels.tsv").write_text(NAMES)


def parquet(root: Path) -> None:
    for split, documents in SPLITS.items():
        pq.write_table(pa.Table.from_pylist(documents), root / f"{split}.parquet")
    (root / "labels.tsv").write_text(NAMES)


def annif(root: Path) -> None:
    for split, documents in SPLITS.items():
        rows = [(doc["text"], " ".join(f"<http://t/{label}>" for label in doc["labels"])) for doc in documents]
        with open(root / f"{split}.{'tsv' if split == 'train' else 'csv'}", "w") as out:
            if split == "train":
                out.writelines(f"{text}\t{uris}\n" for text, uris in rows)
            else:
                csv.writer(out).writerows([("text", "subject_uris"), *rows])
    (root / "vocabulary.tsv").write_text("".join(f"<http://t/{label}>\tName of {label}\n" for label in LABELS))


def bow(root: Path) -> None:
    words = sorted({word for documents in SPLITS.values() for doc in documents for word in doc["text"].split()})
    for split in SHORT:
        documents = SPLITS[split]
        lines = [f"{len(documents)} {len(words)} {len(LABELS)}\n"]
        for document in documents:
            row = document["text"].split()
            features = " ".join(f"{words.index(word)}:{row.count(word)}" for word in sorted(set(row)))
            lines.append(f"{','.join(map(str, _places(document)))} {features}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    _filters(root)


def pecos(root: Path) -> None:
    for split, short in SHORT.items():
        documents = SPLITS[split]
        (root / f"X.{short}.txt").write_text("".join(document["text"] + "\n" for document in documents))
        save_npz(root / f"Y.{short}.npz", label_matrix(split))
    (root / "output-items.txt").write_text("".join(label + "\n" for label in LABELS))


def label_matrix(split: str) -> csr_matrix:
    places = [_places(document) for document in SPLITS[split]]
    rows = np.repeat(np.arange(len(places)), list(map(len, places)))
    return csr_matrix((np.ones(len(rows)), (rows, np.concatenate(places))), shape=(len(places), len(LABELS)))


def lightxml(root: Path) -> None:
    for split in SHORT:
        (root / f"{split}_texts.txt").write_text("".join(document["text"] + "\n" for document in SPLITS[split]))
        tags = "".join(" ".join(document["labels"]) + "\n" for document in SPLITS[split])
        (root / f"{split}_labels.txt").write_text(tags)
    (root / "labels.tsv").write_text(NAMES)


def repository(root: Path) -> None:
    for split, short in SHORT.items():
        with gzip.open(root / f"{short}.json.gz", "wt") as out:
            for document in SPLITS[split]:
                targets = _places(document)
                record = {"uid": document["id"], "title": document["text"], "content": "", "target_ind": targets}
                out.write(json.dumps(record | {"target_rel": [1.0] * len(targets)}) + "\n")
    with gzip.open(root / "lbl.json.gz", "wt") as out:
        out.writelines(json.dumps({"uid": label, "title": label, "content": ""}) + "\n" for label in LABELS)
    _filters(root)


def _filters(root: Path) -> None:
    """Every other test document leaves out its first label."""
    pairs = [f"{i} {_places(document)[0]}\n" for i, document in enumerate(SPLITS["test"]) if i % 2 == 0]
    (root / "tst_filter_labels.txt").write_text("".join(pairs))


FORMATS: dict[str, Callable[[Path], None]] = {
    "jsonl": jsonl,
    "csv": lambda root: _separated(root, "csv", ","),
    "tsv": lambda root: _separated(root, "tsv", "\t"),
    "parquet": parquet,
    "annif": annif,
    "bow": bow,
    "pecos": pecos,
    "lightxml": lightxml,
    "repository": repository,
}
