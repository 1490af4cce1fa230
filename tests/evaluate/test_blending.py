import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from xmc.evaluate.blending import fit_weights
from xmc.evaluate.metrics import ndcg_at_k


def lists(labels: list[list[int]], scores: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(labels), np.array(scores, np.float32)


def test_the_ranking_that_is_right_counts() -> None:
    truth = csr_matrix(np.eye(3, 5))
    right = lists([[0, 3], [1, 3], [2, 3]], [[0.6, 0.5]] * 3)
    wrong = lists([[4, 3], [4, 3], [4, 3]], [[0.9, 0.8]] * 3)
    assert fit_weights([wrong, right], truth, k=1)[1] > 0.5
    assert fit_weights([right, wrong], truth, k=1)[0] == 1.0


def test_two_rankings_are_better_than_each_where_they_err_apart() -> None:
    truth = csr_matrix(np.array([[1, 0, 0], [0, 1, 0]]))
    first = lists([[0, 1], [0, 1]], [[0.9, 0.1], [0.5, 0.4]])  # wrong, and unsure, on the second
    second = lists([[1, 0], [1, 0]], [[0.5, 0.4], [0.9, 0.1]])
    weights = fit_weights([first, second], truth, k=1)
    assert 0 < weights[0] < 1 and abs(sum(weights) - 1) < 1e-9


def test_labels_that_are_not_there_and_documents_without_labels_do_not_count() -> None:
    truth = csr_matrix(np.array([[0, 1], [0, 0]]))
    first = lists([[-1, 0], [0, -1]], [[9.0, 0.2], [0.2, 9.0]])
    second = lists([[1, -1], [0, 1]], [[0.5, 9.0], [0.1, 0.1]])
    assert fit_weights([first, second], truth, k=1)[1] > 0.2


def drawn(rankings: int, seed: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], csr_matrix]:
    rng = np.random.default_rng(seed)
    truth = csr_matrix(rng.random((20, 8)) < 0.25)
    made = []
    for scale in 10.0 ** rng.integers(-2, 2, rankings):
        scores = np.round(scale * (truth.toarray() * rng.random() + rng.random((20, 8))), 2)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :6]
        made.append((order, np.take_along_axis(scores, order, axis=1).astype(np.float32)))
    return made, truth


def ndcg(rankings: list[tuple[np.ndarray, np.ndarray]], weights: tuple[float, ...], truth: csr_matrix) -> float:
    """Of the sum of scores, over all labels at once."""
    total = np.zeros(truth.shape, np.float32)
    for (labels, scores), weight in zip(rankings, np.asarray(weights, np.float32), strict=True):
        np.put_along_axis(total, labels, np.take_along_axis(total, labels, axis=1) + weight * scores, axis=1)
    best = np.argsort(-total, axis=1, kind="stable")[:, :5]
    kept = np.take_along_axis(total, best, axis=1) > 0
    labelled = np.diff(truth.indptr) > 0
    return float(ndcg_at_k(np.where(kept, best, -1)[labelled], truth[labelled], 5)[-1])


@given(rankings=st.integers(1, 5), seed=st.integers(0, 999))
def test_a_blend_is_never_worse_than_a_ranking_alone(rankings: int, seed: int) -> None:
    made, truth = drawn(rankings, seed)
    weights = fit_weights(made, truth)
    assert len(weights) == rankings and min(weights) >= 0 and abs(sum(weights) - 1) < 1e-9
    alone = [ndcg(made, tuple(np.eye(rankings)[one]), truth) for one in range(rankings)]
    assert ndcg(made, weights, truth) >= max(alone) - 1e-9
    assert fit_weights(made, truth) == weights


def test_what_adds_nothing_does_not_count() -> None:
    truth = csr_matrix(np.eye(3, 5))
    right = lists([[0, 3], [1, 3], [2, 3]], [[0.6, 0.5]] * 3)
    assert fit_weights([right] * 4, truth, k=1) == (1.0, 0.0, 0.0, 0.0)
