import numpy as np
from scipy.sparse import csr_matrix

from xmc.evaluate.blending import fit_weights


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
