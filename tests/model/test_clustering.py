import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from xmc.model.clustering import cluster_labels, label_features, order_by_group, tfidf


def test_tfidf_by_hand() -> None:
    matrix = tfidf(np.array([0, 1, 1, 0, 2]), np.array([0, 3, 3, 5]), 4).toarray()
    idf = np.log(4 / np.array([3, 2, 2, 1]))
    first = np.array([idf[0], (1 + np.log(2)) * idf[1], 0, 0])
    np.testing.assert_allclose(matrix[0], first / np.linalg.norm(first), rtol=1e-6)
    assert not matrix[1].any()
    np.testing.assert_allclose(np.linalg.norm(matrix[2]), 1, rtol=1e-6)


def test_label_features_are_means_of_documents() -> None:
    documents = csr_matrix(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0.6, 0.8]], dtype=np.float32))
    labels = csr_matrix(np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1]], dtype=np.float32))
    features = label_features(documents, labels).toarray()
    np.testing.assert_allclose(features[0], np.array([1, 1, 0]) / np.sqrt(2), rtol=1e-6)
    assert not features[1].any()
    np.testing.assert_allclose(features[2], np.array([0, 1.6, 0.8]) / np.linalg.norm([1.6, 0.8]), rtol=1e-6)


def test_label_features_keep_the_largest_terms() -> None:
    documents = csr_matrix(np.array([[0.1, 0.4, 0.3, 0.2]], dtype=np.float32))
    features = label_features(documents, csr_matrix(np.ones((1, 2), dtype=np.float32)), terms=2)
    assert features.toarray().astype(bool).tolist() == [[False, True, True, False]] * 2


def test_blocks_of_labels_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    documents = csr_matrix(random_array((40, 30), density=0.3, rng=rng, dtype=np.float32))
    labels = csr_matrix(random_array((40, 25), density=0.1, rng=rng, dtype=np.float32).astype(bool).astype(np.float32))
    whole = label_features(documents, labels, terms=5)
    monkeypatch.setattr("xmc.model.clustering._BLOCK_ENTRIES", 50)
    blocked = label_features(documents, labels, terms=5)
    np.testing.assert_allclose(blocked.toarray(), whole.toarray(), rtol=1e-6)


def test_planted_clusters_are_found() -> None:
    rng = np.random.default_rng(0)
    topic = rng.permutation(np.repeat(np.arange(8), 16))
    features = np.zeros((128, 80), dtype=np.float32)
    for label, t in enumerate(topic):
        features[label, 10 * t : 10 * t + 10] = rng.random(10) + 0.1
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    clusters = cluster_labels(csr_matrix(features), 16, seed=0)
    purity = sum(np.bincount(topic[clusters == c]).max() for c in range(8)) / 128
    assert purity > 0.8


def test_groups_are_runs_of_similar_labels() -> None:
    rng = np.random.default_rng(0)
    topic = rng.permutation(np.repeat(np.arange(8), 16))
    features = np.zeros((128, 80), dtype=np.float32)
    for label, t in enumerate(topic):
        features[label, 10 * t : 10 * t + 10] = rng.random(10) + 0.1
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    order = order_by_group(csr_matrix(features), 8, seed=0)
    assert sorted(order) == list(range(128))
    assert np.mean([np.bincount(topic[run]).max() for run in order.reshape(-1, 8)]) > 6


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 20), st.integers(0, 3))
def test_an_order_by_group_is_a_permutation(num_labels: int, group_size: int, seed: int) -> None:
    features = csr_matrix(random_array((num_labels, 12), density=0.2, rng=np.random.default_rng(seed)))
    order = order_by_group(features, group_size, seed)
    assert sorted(order) == list(range(num_labels))
    assert np.array_equal(order, order_by_group(features, group_size, seed))


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 20), st.integers(0, 3), st.floats(0, 0.3))
def test_clusters_are_balanced_contiguous_and_reproducible(
    num_labels: int, leaf_size: int, seed: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    features = csr_matrix(random_array((num_labels, 40), density=density, rng=rng, dtype=np.float32))
    clusters = cluster_labels(features, leaf_size, seed)
    sizes = np.bincount(clusters)
    assert sizes.sum() == num_labels
    assert sizes.max() <= leaf_size
    assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(clusters, cluster_labels(features, leaf_size, seed))
