"""Learning the lexical half: centroids, and a tree of linear classifiers that start at them."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from xmc.model.clustering import cluster_labels, label_features
from xmc.model.lexical import Level, LexicalHalf, Terms, prior
from xmc.ops.lexical import Postings, Problem, solve
from xmc.ops.lexical.dual import Rows

logger = logging.getLogger(__name__)

_CLUSTER_TERMS = 100  # of a label, by which it is clustered
_BIAS = -2.0  # of a classifier at the start: beyond the margin for documents that share no term with its centroid
_MOST = 4096  # weights of a classifier
_BITS = 4  # nodes of the tree have at most 2^4 children, but for the leaves'


@dataclass(frozen=True, slots=True)
class LexicalRecipe:
    """centroid_terms: largest terms of a label's mean document, which are its centroid. leaf_size: labels of a leaf, at
    most. start: a classifier starts at so many times its centroid. cost: of a violated margin. passes: over the
    documents of a node. threshold: smaller weights are dropped."""

    centroid_terms: int
    leaf_size: int
    start: float
    cost: float
    passes: int
    threshold: float


def learn_lexical_half(
    terms: Terms, documents: csr_matrix, labels: csr_matrix, recipe: LexicalRecipe, seed: int
) -> LexicalHalf:
    """From the documents' terms, CSR [N, V], and their labels, CSR [N, L]. The same bits with any number of threads.

    The tree is built as in Parabel (Prabhu et al., WWW 2018): labels of similar documents lie in one leaf, and each
    node's classifier tells its documents from the others of the node above.
    """
    known = np.flatnonzero(np.bincount(labels.indices, minlength=labels.shape[1]))
    labels = csr_matrix(labels[:, known], dtype=np.float32)
    leaf_of = cluster_labels(label_features(documents, labels, _CLUSTER_TERMS), recipe.leaf_size, seed)
    order = np.argsort(leaf_of, kind="stable")
    labels, leaf_of = labels[:, order], leaf_of[order]
    centroids = label_features(documents, labels, recipe.centroid_terms)
    depth = int(leaf_of.max(initial=0)).bit_length()
    shifts = range((depth - 1) // _BITS * _BITS, -1, -_BITS) if depth else ()
    above = np.zeros(len(order), np.int64)
    levels, members = [], _documents_of(labels, above)
    for node_of in [*(leaf_of >> shift for shift in shifts), np.arange(len(order))]:
        positives = _documents_of(labels, node_of)
        parents = np.zeros(positives.shape[1], np.int64)
        parents[node_of] = above
        last = positives.shape[1] == len(order)
        starts = centroids if last else label_features(documents, positives.tocsr(), recipe.centroid_terms)
        levels.append(_level(documents, members, positives, parents, starts, recipe, seed))
        above, members = node_of, positives
    counts = np.bincount(labels.indices, minlength=len(order))
    return LexicalHalf(
        terms,
        torch.from_numpy(known[order]),
        torch.from_numpy(counts),
        levels,
        Postings.of([_rows_of(centroids)]),
        torch.from_numpy(prior(3)),
    )


def _level(
    documents: csr_matrix,
    members: csc_matrix,
    positives: csc_matrix,
    parents: NDArray[np.int64],
    starts: csr_matrix,
    recipe: LexicalRecipe,
    seed: int,
) -> Level:
    """The classifiers of nodes. members: the documents of each node above, CSC [N, P]. positives: those of each node,
    CSC [N, n]. parents: [n], ascending. starts: their centroids, CSR [n, V]."""
    started = time.perf_counter()
    first = np.searchsorted(parents, np.arange(members.shape[1] + 1))
    problem = Problem(
        documents,
        members,
        positives,
        first,
        starts,
        start=recipe.start,
        bias=_BIAS,
        cost=recipe.cost,
        passes=recipe.passes,
        threshold=recipe.threshold,
        most=_MOST,
        seed=seed,
    )
    nodes = solve(problem)
    logger.info("lexical half: %d classifiers learned in %.0f s", len(parents), time.perf_counter() - started)
    return Level(Postings.of(nodes), torch.from_numpy(np.concatenate([biases for _, _, _, biases in nodes])))


def _documents_of(labels: csr_matrix, node_of: NDArray[np.int64]) -> csc_matrix:
    """The documents with a label of each node, CSC [N, nodes] of ones. node_of: [L], the node of each label."""
    size = len(node_of)
    membership = csr_matrix((np.ones(size, np.float32), node_of, np.arange(size + 1)), (size, int(node_of.max()) + 1))
    documents = csc_matrix(labels @ membership)
    documents.data[:] = 1
    documents.sort_indices()
    return documents


def _rows_of(matrix: csr_matrix) -> Rows:
    counts = np.diff(matrix.indptr).astype(np.int64)
    return matrix.indices, matrix.data.astype(np.float32), counts, np.zeros(len(counts), np.float32)
