"""How well are new labels found: learned from examples (`xmc add-labels`), and by their names alone?

usage: python scripts/new_labels.py MODEL NEW SPLIT

MODEL: a folder that `xmc add-labels` wrote. NEW: the folder `new` that `scripts/hold_out_labels.py` wrote, whose
documents of SPLIT (dev or test) each carry a new label. By name, without an example, a label scores the cosine of the
features of its name and of the document, both less the mean of the documents' features.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from xmc import XMCModel
from xmc.data.documents import read_examples
from xmc.data.labels import read_labels_tsv
from xmc.model.label_space import selected


def precision_and_recall(ranked: NDArray[np.int64], truth: csr_matrix) -> tuple[float, float]:
    """P@1 and R@5 of label lists [N, k], in percent."""
    hits = np.take_along_axis(truth.toarray().astype(bool), ranked[:, :5], axis=1)
    return 100 * float(hits[:, 0].mean()), 100 * float((hits.sum(1) / truth.sum(1).A1).mean())


def by_name(documents_ND: Tensor, names_LD: Tensor) -> Tensor:
    """Scores [N, L]."""
    mean = documents_ND.mean(0)
    return F.normalize(documents_ND - mean, dim=1) @ F.normalize(names_LD - mean, dim=1).T


def main(folder: str, new: str, split: str) -> None:
    """Print, for the documents of a split, how the new labels rank among themselves and among all labels."""
    model, names = XMCModel.from_pretrained(folder), read_labels_tsv(Path(new, "labels.tsv"))
    texts, labels = zip(*read_examples(Path(new, f"{split}.jsonl"), ["text"]), strict=True)
    place = {label: i for i, label in enumerate(names)}
    pairs = [(row, place[label]) for row, some in enumerate(labels) for label in some]
    truth = csr_matrix((np.ones(len(pairs)), np.array(pairs).T), shape=(len(texts), len(names)))
    features = model.encode(list(texts))
    rows = torch.tensor([model.label_ids.index(label) for label in names])
    learned = selected(model.classifier, rows).topk(features, 5).labels.numpy()
    named = by_name(features, model.encode(list(names.values()))).topk(5).indices.numpy()
    print(f"{len(texts)} documents, {len(names)} new labels, ranked among themselves")
    for title, ranked in (("by name", named), ("learned", learned)):
        print("{:<10}P@1 {:6.2f}  R@5 {:6.2f}".format(title, *precision_and_recall(ranked, truth)))
    best = model.classifier.topk(features, 10).labels
    found = [bool((best[row, :k] == rows[label]).any()) for k in (5, 10) for row, label in pairs]
    first, second = np.array(found).reshape(2, -1).mean(1) * 100
    print(f"learned, among all {len(model.label_ids)} labels: R@5 {first:.2f}  R@10 {second:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
