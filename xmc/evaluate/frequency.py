"""Precision and recall of rare and of frequent labels: by octaves of their training documents."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate.metrics import checked
from xmc.evaluate.terms import CSR, Labels, Values, blocks, ratio


@dataclass(frozen=True, slots=True)
class Octave:
    """The labels with `fewest` to `most` training documents, taken together, at the cut-offs 1..k.

    labels: how many there are. true: their assignments in the split. found, predicted: int64 [k], correct ones and all
    among the first j of the lists.
    """

    fewest: int
    most: int
    labels: int
    true: int
    found: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @property
    def recall(self) -> Values:
        """Share of the true assignments that are found, float64 [k]."""
        return ratio(self.found, np.full(len(self.found), self.true))

    @property
    def precision(self) -> Values:
        """Share of the predictions that are right, float64 [k]."""
        return ratio(self.found, self.predicted)


def octaves(train_counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Octave of each label, int64 [L]: 0 without a training document, 1 for one, 2 for 2 to 3, 3 for 4 to 7, ..."""
    return np.frexp(train_counts.astype(np.float64))[1].astype(np.int64)


def by_frequency(labels: Labels, truth: CSR, train_counts: NDArray[np.integer], k: int) -> list[Octave]:
    """One entry for each octave that has labels, rare ones first. Arguments as those of `evaluate`."""
    truth = checked(labels, truth, k, train_counts=train_counts)
    octave = octaves(train_counts)
    size = int(octave.max(initial=0)) + 1
    true = np.zeros(size, dtype=np.int64)
    found, predicted = np.zeros((2, k, size), dtype=np.int64)
    for block in blocks(labels, truth, k):
        true += np.bincount(octave[block.positives], minlength=size)
        for j in range(k):
            ranked, hits = block.ranked[:, j], block.hits[:, j]
            found[j] += np.bincount(octave[ranked[hits]], minlength=size)
            predicted[j] += np.bincount(octave[ranked[ranked >= 0]], minlength=size)
    found, predicted = found.cumsum(axis=0), predicted.cumsum(axis=0)
    of_labels = np.bincount(octave, minlength=size)
    return [
        Octave(2**o // 2, max(0, 2**o - 1), int(of_labels[o]), int(true[o]), found[:, o], predicted[:, o])
        for o in np.flatnonzero(of_labels).tolist()
    ]
