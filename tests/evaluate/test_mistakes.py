import numpy as np
import pytest
import scipy.sparse as sp

from xmc.evaluate import Confusion, best_and_worst, confusions, mistakes

# Document 0 misses 2 and 3 and has 5 instead; 1 misses 2, its list right after one place too many; 2 is all right.
LABELS = np.array([[0, 5, 4], [5, 2, 1], [1, 0, -1], [4, 3, -1]])
TRUTH = sp.csr_matrix(
    (np.full(7, 0.5), ([0, 0, 1, 2, 2, 3, 3], [2, 0, 2, 0, 1, 0, 1])),
    shape=(4, 6),
)


def test_confusions_by_hand() -> None:
    assert confusions(LABELS, TRUTH, 3, 10) == [
        Confusion(2, 5, documents=2, missed=2),
        Confusion(0, 3, documents=1, missed=1),
        Confusion(0, 4, documents=1, missed=1),
        Confusion(1, 3, documents=1, missed=1),
        Confusion(1, 4, documents=1, missed=1),
    ]
    assert len(confusions(LABELS, TRUTH, 3, 2)) == 2


def test_confusions_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "SAMPLE", 2)
    assert [(c.true, c.predicted) for c in confusions(LABELS, TRUTH, 3, 10)] == [(0, 3), (0, 4), (1, 3), (1, 4), (2, 5)]


def test_a_perfect_model_confuses_nothing() -> None:
    assert confusions(np.array([[2, 0]]), TRUTH[:1], 2, 5) == []


def test_best_and_worst() -> None:
    labels = np.array([[0, 1], [0, 2], [3, 2], [3, 2], [1, 0]])
    truth = sp.csr_matrix(([1.0] * 6, ([0, 0, 1, 2, 3, 0], [0, 1, 0, 0, 1, 3])), shape=(5, 4))
    scores = np.array([[1.0, 0], [9, 0], [2, 0], [5, 0], [7, 0]])
    best, worst = best_and_worst(labels, scores, truth, 2, 2)
    assert best == [0, 1]  # both right as far as they can be, the first with more labels
    assert worst == [3, 2]  # both wrong, the first with more confidence
    assert all(4 not in rows for rows in best_and_worst(labels, scores, truth, 2, 5))
