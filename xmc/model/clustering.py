"""Clusters of similar labels, from the documents that carry them.

Balanced recursive 2-means on mean TF-IDF vectors, as in Parabel (Prabhu et al., WWW 2018, section 4.1). All matrices
are sparse; only the two centroids of the node at hand are dense, over the terms that occur in it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

_ITERATIONS = 20
_BLOCK_ENTRIES = 20_000_000


def tfidf(token_ids: NDArray[np.integer], offsets: NDArray[np.integer], vocab_size: int) -> csr_matrix:
    """TF-IDF vectors of N documents, (1 + log tf) * log((1 + N) / (1 + df)) at unit length, CSR [N, vocab_size].

    token_ids: all documents' tokens, one after another. offsets: [N + 1], where each begins.
    """
    num_documents = len(offsets) - 1
    counts = csr_matrix(
        (np.ones(len(token_ids), dtype=np.float32), token_ids, offsets), shape=(num_documents, vocab_size)
    )
    counts.sum_duplicates()
    frequency = np.bincount(counts.indices, minlength=vocab_size)
    idf = np.log((1 + num_documents) / (1 + frequency)).astype(np.float32)
    counts.data = (1 + np.log(counts.data)) * idf[counts.indices]
    return _normalised(counts)


def unit_rows(
    values: NDArray[np.floating], ids: NDArray[np.integer], offsets: NDArray[np.integer], size: int
) -> csr_matrix:
    """Sparse features of N documents at unit length, CSR [N, size]. offsets: [N + 1], where each begins."""
    return _normalised(csr_matrix((values, ids, offsets), shape=(len(offsets) - 1, size)))


def label_features(documents: csr_matrix, labels: csr_matrix, terms: int = 100) -> csr_matrix:
    """Mean vector of each label's documents at unit length, its largest `terms` entries, CSR [L, V].

    documents: CSR [N, V]. labels: CSR [N, L]. A label without documents has an empty row. Works through blocks of
    labels of some 20 million entries, so memory does not grow with the number of labels before pruning.
    """
    documents_of = csr_matrix(labels.T, dtype=np.float32)
    entries = documents_of @ np.diff(documents.indptr).astype(np.float64)
    block_of = (np.cumsum(entries) // _BLOCK_ENTRIES).astype(np.int64)
    starts = np.flatnonzero(np.diff(block_of, prepend=-1)).tolist()
    blocks = [
        _largest(documents_of[start:stop] @ documents, terms)
        for start, stop in zip(starts, [*starts[1:], len(block_of)], strict=True)
    ]
    return _normalised(csr_matrix(vstack(blocks, format="csr")))


def cluster_labels(features: csr_matrix, leaf_size: int, seed: int) -> NDArray[np.int64]:
    """Cluster of each label, int64 [L], numbered from 0; no cluster exceeds `leaf_size`, and sizes differ by at most 1.

    features: CSR [L, V], rows of unit length. Labels with an empty row have no say and fill up what is balanced.
    """
    nodes = [np.arange(features.shape[0])]
    while max(map(len, nodes)) > leaf_size:
        halves = [_split(features, rows, [seed, len(nodes), i], len(rows) // 2) for i, rows in enumerate(nodes)]
        nodes = [half for pair in halves for half in pair if len(half)]
    clusters = np.empty(features.shape[0], dtype=np.int64)
    for number, rows in enumerate(nodes):
        clusters[rows] = number
    return clusters


def order_by_group(features: csr_matrix, group_size: int, seed: int) -> NDArray[np.int64]:
    """The labels in an order in which each run of `group_size` is a group of similar ones, int64 [L].

    features: as for `cluster_labels`. Only the last group is smaller, where `group_size` does not divide L.
    """
    nodes = [np.arange(features.shape[0])]
    while max(map(len, nodes)) > group_size:
        parts: list[NDArray[np.int64]] = []
        for i, rows in enumerate(nodes):
            middle = -(-len(rows) // group_size) // 2 * group_size
            parts += _split(features, rows, [seed, len(nodes), i], middle) if middle else [rows]
        nodes = parts
    return np.concatenate(nodes)


def _split(
    features: csr_matrix, rows: NDArray[np.int64], seed: list[int], middle: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two parts by spherical 2-means: labels are ranked by which centroid is nearer and cut after `middle` of them."""
    node = features[rows]
    terms, columns = np.unique(node.indices, return_inverse=True)
    node = csr_matrix((node.data, columns, node.indptr), shape=(len(rows), len(terms)))
    filled = np.flatnonzero(np.diff(node.indptr))
    order = np.arange(len(rows))
    if len(filled) >= 2:
        first, second = np.random.default_rng(seed).choice(filled, 2, replace=False)
        difference = (node[first] - node[second]).toarray()[0]
        for _ in range(_ITERATIONS):
            before, order = order, np.argsort(-(node @ difference), kind="stable")
            if np.array_equal(np.sort(order[:middle]), np.sort(before[:middle])):
                break
            difference = _centroid(node, order[:middle]) - _centroid(node, order[middle:])
    return rows[np.sort(order[:middle])], rows[np.sort(order[middle:])]


def _centroid(node: csr_matrix, rows: NDArray[np.int64]) -> NDArray[np.floating]:
    member = np.zeros(node.shape[0], dtype=np.float32)
    member[rows] = 1
    total = node.T @ member
    return total / max(float(np.linalg.norm(total)), 1e-12)


def _largest(matrix: csr_matrix, count: int) -> csr_matrix:
    """The `count` largest entries of each row."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    rank = np.arange(len(order)) - matrix.indptr[rows]
    kept = order[rank < count]
    return csr_matrix((matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape)


def _normalised(matrix: csr_matrix) -> csr_matrix:
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = (1 / np.maximum(norms, 1e-12)).astype(np.float32)
    matrix.data = matrix.data * np.repeat(scale, np.diff(matrix.indptr))
    return matrix
