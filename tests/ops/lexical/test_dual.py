import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix, csr_matrix, random

from xmc.ops.lexical import Problem, solve

DOCUMENTS, TERMS = 60, 40


def problem(seed: int = 0, **changes: object) -> Problem:
    """Two nodes, of 3 and 2 rows; the first has all documents, the second every other."""
    rng = np.random.default_rng(seed)
    documents = csr_matrix(random(DOCUMENTS, TERMS, 0.2, random_state=rng, dtype=np.float32))
    documents.sort_indices()
    members = np.ones((DOCUMENTS, 2))
    members[1::2, 1] = 0
    positives = rng.random((DOCUMENTS, 5)) < 0.3
    positives[1::2, 3:] = False
    starts = csr_matrix(random(5, TERMS, 0.3, random_state=rng, dtype=np.float32))
    starts = starts.multiply(np.asarray(documents.T @ positives).T > 0).tocsr()  # terms of the row's documents alone
    values: dict[str, object] = {
        "documents": documents,
        "members": csc_matrix(members),
        "positives": csc_matrix(positives.astype(np.float32)),
        "first": np.array([0, 3, 5]),
        "starts": starts,
        "start": 2.0,
        "bias": -1.0,
        "cost": 1.0,
        "passes": 400,
        "threshold": 0.0,
        "most": TERMS,
        "seed": 0,
    }
    return Problem(**values | changes)  # type: ignore[arg-type]


def dense(of: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Weights [R, V] and biases [R] that are found."""
    weights, biases, row = np.zeros((of.positives.shape[1], TERMS)), [], 0
    for terms, values, counts, bias in solve(of):
        at = 0
        for count in counts:
            weights[row, terms[at : at + count]] = values[at : at + count]
            at, row = at + count, row + 1
        biases.append(bias)
    return weights, np.concatenate(biases)


def objective(of: Problem, row: int, node: int, weight: np.ndarray, bias: float) -> float:
    members = of.members[:, node].toarray()[:, 0] > 0
    sign = np.where(of.positives[:, row].toarray()[:, 0] > 0, 1.0, -1.0)[members]
    margins = of.documents.toarray()[members] @ weight + bias
    moved = np.append(weight - of.start * of.starts[row].toarray()[0], bias - of.bias)
    return float(moved @ moved / 2 + of.cost * (np.maximum(0, 1 - sign * margins) ** 2).sum())


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_as_good_as_gradient_descent_finds(seed: int) -> None:
    given = problem(seed)
    weights, biases = dense(given)
    for row, node in enumerate([0, 0, 0, 1, 1]):
        start = torch.tensor(np.append(given.start * given.starts[row].toarray()[0], given.bias))
        found = start.clone().requires_grad_()
        members = given.members[:, node].toarray()[:, 0] > 0
        inputs = torch.tensor(np.append(given.documents.toarray()[members], np.ones((members.sum(), 1)), axis=1))
        sign = torch.tensor(np.where(given.positives[:, row].toarray()[:, 0] > 0, 1.0, -1.0)[members])
        optimizer = torch.optim.LBFGS([found], max_iter=500, line_search_fn="strong_wolfe")

        def loss(x=found, inputs=inputs, sign=sign, start=start) -> torch.Tensor:  # type: ignore[no-untyped-def]
            hinge = torch.relu(1 - sign * (inputs @ x)).square().sum()
            return (x - start).square().sum() / 2 + given.cost * hinge

        def closure(optimizer=optimizer, loss=loss) -> torch.Tensor:  # type: ignore[no-untyped-def]
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        optimizer.step(closure)
        best = loss().item()
        ours = objective(given, row, node, weights[row], float(biases[row]))
        assert best - 1e-6 <= ours <= 1.02 * best  # the last pass may leave violations of .1


def test_a_row_whose_documents_agree_with_its_start_stays_there() -> None:
    documents = csr_matrix(np.eye(4, dtype=np.float32))
    weights = solve(
        Problem(
            documents,
            csc_matrix(np.ones((4, 1))),
            csc_matrix(np.array([[1.0], [0], [0], [0]], np.float32)),
            np.array([0, 1]),
            csr_matrix(np.array([[1.0, 0, 0, 0]], np.float32)),
            *(6.0, -2.0, 1.0, 5, 0.05, 10, 0),
        )
    )
    ((terms, values, counts, biases),) = weights
    assert terms.tolist() == [0] and values.tolist() == [6.0] and counts.tolist() == [1] and biases.tolist() == [-2.0]


def test_the_threads_do_not_matter() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = dense(problem(passes=3))
        torch.set_num_threads(3)
        three = dense(problem(passes=3))
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))


def test_small_weights_and_all_but_the_largest_are_left_out() -> None:
    whole, _ = dense(problem())
    cut, _ = dense(problem(threshold=0.3))
    assert np.array_equal(cut, np.where(np.abs(whole) >= np.float32(0.3), whole, 0))
    few, _ = dense(problem(most=5))
    assert (np.count_nonzero(few, axis=1) <= 5).all()
    assert all(np.abs(f[f != 0]).min() >= np.sort(np.abs(w))[-5] for f, w in zip(few, whole, strict=True))


def test_many_rows_of_a_node_are_those_of_nodes_with_few() -> None:
    rng = np.random.default_rng(0)
    few = problem()
    documents = few.documents
    positives = csc_matrix((rng.random((documents.shape[0], 24)) < 0.2).astype(np.float32))
    starts = csr_matrix(random(24, TERMS, 0.3, random_state=rng, dtype=np.float32))
    everyone = np.ones((documents.shape[0], 1), np.float32)
    changes = {"positives": positives, "starts": starts, "passes": 6}
    together = dense(problem(**changes, members=csc_matrix(everyone), first=np.array([0, 24])))
    apart = dense(problem(**changes, members=csc_matrix(np.repeat(everyone, 2, axis=1)), first=np.array([0, 12, 24])))
    np.testing.assert_allclose(together[0], apart[0], atol=1e-4)
    np.testing.assert_allclose(together[1], apart[1], atol=1e-4)
