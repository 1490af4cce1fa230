"""Where a model goes wrong: labels predicted instead of others, and the documents it ranks best and worst."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from xmc.evaluate.metrics import checked
from xmc.evaluate.terms import CSR, Labels, Values, blocks, ndcg

SAMPLE = 100_000  # documents that confusions are counted on


@dataclass(frozen=True, slots=True)
class Confusion:
    """A label that was missed, and the one predicted instead.

    documents: in how many. missed: in how many the true label was missed at all.
    """

    true: int
    predicted: int
    documents: int
    missed: int


def confusions(labels: Labels, truth: CSR, k: int, most: int) -> list[Confusion]:
    """The most frequent pairs of a missed label and a wrong one in its document's list, the most frequent first.

    A list counts as far as it could be all right: its first k labels, at most as many as the document has. Counted on
    at most `SAMPLE` documents, spread over the split; memory is that of the pairs that occur, never L x L.
    """
    truth = checked(labels, truth, k)
    rows = np.linspace(0, len(labels) - 1, min(SAMPLE, len(labels))).astype(np.int64)
    ranked, true = labels[rows, :k], truth[rows].astype(np.int64)
    true.data[:] = 1
    counts = (np.arange(k) < np.diff(true.indptr)[:, None]) & (ranked >= 0)
    documents = np.repeat(np.arange(len(rows)), counts.sum(axis=1))
    ones = np.ones(len(documents), dtype=np.int64)
    predicted = sp.csr_array((ones, (documents, ranked[counts])), shape=true.shape)
    right = true.multiply(predicted)
    missed, wrong = sp.csr_array(true - right), sp.csr_array(predicted - right)
    missed.eliminate_zeros()
    wrong.eliminate_zeros()
    pairs = sp.coo_array(missed.T @ wrong)
    of_label = np.bincount(missed.indices, minlength=true.shape[1])
    order = np.lexsort((pairs.col, pairs.row, -pairs.data))[:most]
    return [
        Confusion(int(pairs.row[i]), int(pairs.col[i]), int(pairs.data[i]), int(of_label[pairs.row[i]])) for i in order
    ]


def best_and_worst(labels: Labels, scores: Values, truth: CSR, k: int, count: int) -> tuple[list[int], list[int]]:
    """Rows of the `count` documents with the highest nDCG@k, and of those with the lowest, the most extreme first.

    Of equals, the best are those with the most labels, the worst those the model was surest of. scores: [N, >= 1], of
    the lists. Documents without a label are neither.
    """
    truth = checked(labels, truth, k)
    quality: Values = np.concatenate([ndcg(block)[0][:, -1] for block in blocks(labels, truth, k)])
    labelled: NDArray[np.int64] = np.flatnonzero(np.diff(truth.indptr) > 0)
    number = np.diff(truth.indptr)[labelled]
    best = labelled[np.lexsort((-number, -quality[labelled]))]
    worst = labelled[np.lexsort((-scores[labelled, 0], quality[labelled]))]
    return best[:count].tolist(), worst[:count].tolist()
