import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random

from xmc.ops.lexical import Postings, best_children, best_rows

TERMS = 30


def rows_of(matrix: csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    counts = np.diff(matrix.indptr).astype(np.int64)
    return matrix.indices, matrix.data, counts, np.zeros(len(counts), np.float32)


def dense(postings: Postings) -> np.ndarray:
    """The weights as they were rounded, [rows, V]."""
    weights = np.zeros((postings.num_rows, TERMS), np.float32)
    for node in range(len(postings.first) - 1):
        for term in range(postings.nodes[node], postings.nodes[node + 1]):
            entries = slice(postings.offsets[term], postings.offsets[term + 1])
            row = postings.first[node] + postings.rows[entries]
            weights[row, postings.terms[term]] = postings.weights[entries] * postings.scale[row]
    return weights


def sparse(rows: int, columns: int, seed: int) -> csr_matrix:
    matrix = csr_matrix(random(rows, columns, 0.3, random_state=np.random.default_rng(seed), dtype=np.float32))
    matrix.sort_indices()
    return matrix


@given(seed=st.integers(0, 50), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), k=st.integers(1, 8))
def test_children_are_ranked_by_the_path_to_them(seed: int, sizes: list[int], k: int) -> None:
    postings = Postings.of([rows_of(sparse(size, TERMS, seed + n)) for n, size in enumerate(sizes)])
    assert postings.fault(len(sizes), sum(sizes), TERMS) is None
    documents, rng = sparse(5, TERMS, seed + 99), np.random.default_rng(seed)
    beam = np.array([rng.permutation(len(sizes))[:2] if len(sizes) > 1 else [0, -1] for _ in range(5)], np.int64)
    above = -np.sort(rng.random(beam.shape, dtype=np.float32), axis=1)
    above[beam < 0] = -np.inf
    bias = rng.standard_normal(sum(sizes)).astype(np.float32)
    found, scores = best_children(documents, postings, bias, (beam, above), k)
    margins = documents.toarray() @ dense(postings).T + bias
    for document in range(5):
        expected = {
            row: above[document, place] - max(0, 1 - margins[document, row]) ** 3
            for place, node in enumerate(beam[document])
            if node >= 0
            for row in range(postings.first[node], postings.first[node + 1])
        }
        best = sorted(expected.values(), reverse=True)[:k]
        assert np.allclose(scores[document, : len(best)], best, atol=1e-4)
        assert (found[document, len(best) :] == -1).all()
        assert np.allclose([expected[row] for row in found[document, : len(best)]], best, atol=1e-4)


@given(seed=st.integers(0, 50), rows=st.integers(1, 20), k=st.integers(1, 8))
def test_all_rows_are_ranked_by_their_product(seed: int, rows: int, k: int) -> None:
    matrix = sparse(rows, TERMS, seed)
    postings, documents = Postings.of([rows_of(matrix)]), sparse(4, TERMS, seed + 1)
    found, scores = best_rows(documents, postings, k, budget=10_000)
    products = documents.toarray() @ dense(postings).T
    touched = (documents.toarray() != 0).astype(int) @ (dense(postings) != 0).T.astype(int) > 0
    for document in range(4):
        best = np.sort(products[document][touched[document]])[::-1][:k]
        assert np.allclose(scores[document, : len(best)], best, atol=1e-5)
        assert (found[document, len(best) :] == -1).all()


def test_beyond_the_budget_the_terms_of_most_rows_are_passed_over() -> None:
    matrix = csr_matrix(np.array([[1, 0.5], [1, 0], [1, 0]], np.float32))
    postings = Postings.of([rows_of(matrix)])
    document = csr_matrix(np.array([[1, 1]], np.float32))
    assert best_rows(document, postings, 3, budget=4)[0].tolist() == [[0, 1, 2]]
    assert best_rows(document, postings, 3, budget=3)[0].tolist() == [[0, -1, -1]]


def test_weights_are_rounded_to_a_127th_of_the_largest() -> None:
    matrix = sparse(12, TERMS, 3)
    error = np.abs(dense(Postings.of([rows_of(matrix)])) - matrix.toarray())
    assert (error <= np.abs(matrix.toarray()).max(axis=1, keepdims=True) / 254 + 1e-6).all()
