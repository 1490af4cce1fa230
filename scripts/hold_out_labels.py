"""A data set without some of its labels, and a few examples of those: what `xmc finetune` and `xmc add-labels` are for.

usage: python scripts/hold_out_labels.py SOURCE TARGET [--share 0.1] [--seed 0] [--labels 50] [--examples 10]

Reads the JSON lines of SOURCE ({train,dev,test}.jsonl.gz, labels.tsv) and writes to TARGET the same documents without a
share of the labels, chosen by a hash of their ids; a document that none is left of goes. Of the labels held out,
`--labels` that enough training documents carry are new: `new/examples.jsonl` has `--examples` training documents for
each, `new/labels.tsv` their names, and `new/{dev,test}.jsonl` the documents of dev and test that carry any of them.
"""

import argparse
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xmc.data.corpus import uniform_hash
from xmc.data.labels import read_labels_tsv

Document = dict[str, Any]


def read(path: Path) -> list[Document]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(path: Path, documents: Iterable[Document]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)


def write_names(path: Path, names: dict[str, str], labels: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("id\tname\n" + "".join(f"{label}\t{names[label]}\n" for label in labels), encoding="utf-8")


def only(documents: Iterable[Document], labels: set[str]) -> list[Document]:
    """The documents with these labels alone, without those that have none of them."""
    narrowed = [document | {"labels": [la for la in document["labels"] if la in labels]} for document in documents]
    return [document for document in narrowed if document["labels"]]


def examples(train: list[Document], candidates: Iterable[str], many: int, each: int, seed: int) -> list[Document]:
    """`each` training documents for `many` of the candidates; a document names the labels it was chosen for."""
    rng = random.Random(seed)
    carriers: dict[str, list[int]] = defaultdict(list)
    for row, document in enumerate(train):
        for label in document["labels"]:
            carriers[label].append(row)
    enough = [label for label in sorted(candidates) if len(carriers[label]) >= each]
    chosen: dict[int, list[str]] = defaultdict(list)
    for label in sorted(rng.sample(enough, many)):
        for row in rng.sample(carriers[label], each):
            chosen[row].append(label)
    return [train[row] | {"labels": labels} for row, labels in sorted(chosen.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--share", type=float, default=0.1, help="of the labels, held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=50, help="of those held out that are new")
    parser.add_argument("--examples", type=int, default=10, help="documents of each new label")
    options = parser.parse_args()
    names = read_labels_tsv(options.source / "labels.tsv")
    held_out = {label for label in names if uniform_hash(f"held out:{label}", options.seed) < options.share}
    known = set(names) - held_out
    splits = {split: read(options.source / f"{split}.jsonl.gz") for split in ("train", "dev", "test")}
    for split, documents in splits.items():
        write(options.target / f"{split}.jsonl", only(documents, known))
    write_names(options.target / "labels.tsv", names, (label for label in names if label in known))
    given = examples(splits["train"], held_out, options.labels, options.examples, options.seed)
    new = {label for document in given for label in document["labels"]}
    write(options.target / "new" / "examples.jsonl", given)
    write_names(options.target / "new" / "labels.tsv", names, sorted(new))
    for split in ("dev", "test"):
        write(options.target / "new" / f"{split}.jsonl", only(splits[split], new))
    print(f"{len(known)} labels stay, {len(held_out)} held out, {len(new)} of them new in {len(given)} examples")


if __name__ == "__main__":
    main()
