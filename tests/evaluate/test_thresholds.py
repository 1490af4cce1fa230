from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from xmc.evaluate.thresholds import assignment, best_thresholds

L = 3
PAIRS = st.lists(st.tuples(st.integers(0, L - 1), st.integers(0, 8), st.booleans()), max_size=30)
Pairs = list[tuple[int, int, bool]]


def columns(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scores, labels and hits."""
    labels, scores, hits = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    return scores / 8, labels, hits.astype(bool)


def outcomes(pairs: Pairs, label: int) -> list[tuple[float, int, int]]:
    """Each threshold that makes a difference, with the pairs it takes and the true ones among them."""
    own = [(score / 8, hit) for other, score, hit in pairs if other == label]
    return [
        (cut, sum(score >= cut for score, _ in own), sum(hit for score, hit in own if score >= cut))
        for cut in sorted({score for score, _ in own}, reverse=True)
    ]


@given(PAIRS, st.integers(0, 3))
def test_no_threshold_has_a_larger_f1(pairs: Pairs, missed: int) -> None:
    """missed: true documents of a label whose lists do not hold it."""
    scores, labels, hits = columns(pairs)
    positives = np.bincount(labels[hits], minlength=L) + missed
    for label, threshold in enumerate(best_thresholds(scores, labels, hits, positives)):
        values = [2 * right / (taken + positives[label]) for _, taken, right in outcomes(pairs, label) if right]
        if np.isnan(threshold):
            assert not values
            continue
        own, mine = scores[labels == label], hits[labels == label]
        assert 2 * mine[own >= threshold].sum() / ((own >= threshold).sum() + positives[label]) == max(values)


@given(PAIRS, st.sampled_from([0.1, 0.5, 0.7, 1.0]))
def test_no_threshold_of_that_precision_takes_more(pairs: Pairs, precision: float) -> None:
    scores, labels, hits = columns(pairs)
    for label, threshold in enumerate(best_thresholds(scores, labels, hits, np.ones(L, np.int64), precision)):
        counts = [taken for _, taken, right in outcomes(pairs, label) if right / taken >= precision]
        assert np.isnan(threshold) if not counts else (scores[labels == label] >= threshold).sum() == max(counts)


def test_a_threshold_lies_halfway() -> None:
    scores, hits = np.array([0.9, 0.5, 0.3, 0.2]), np.array([True, True, False, False])
    one = np.zeros(4, np.int64)
    assert best_thresholds(scores, one, hits, np.array([2])) == pytest.approx([0.4])
    assert best_thresholds(scores[:2], one[:2], hits[:2], np.array([2])) == pytest.approx([0.5])


def test_a_true_document_beyond_the_lists_counts() -> None:
    """With two more true documents outside, taking the third pair pays."""
    scores, hits, one = np.array([0.9, 0.5, 0.4]), np.array([True, False, True]), np.zeros(3, np.int64)
    assert best_thresholds(scores, one, hits, np.array([1])) == pytest.approx([0.7])
    assert best_thresholds(scores, one, hits, np.array([4])) == pytest.approx([0.4])


def test_assignment_by_hand() -> None:
    """Three labels; the second has a higher threshold, and of the third's two documents none is found."""
    labels, scores = np.array([[0, 1], [1, -1]]), np.array([[0.9, 0.6], [0.8, 0.0]])
    truth = csr_matrix([[1, 0, 1], [0, 1, 1]])
    found = assignment(labels, scores, np.array([0.5, 0.7, 0.0]), truth)
    assert astuple(found) == pytest.approx((4 / 6, 2 / 3, 1.0, 0.5, 1.0))
    none = assignment(labels, scores, np.full(3, np.inf), truth)
    assert astuple(none) == (0, 0, 0, 0, 0)
