"""Rows of weights with the squared hinge and L2, by dual coordinate descent that starts at a given row.

Hsieh et al., A Dual Coordinate Descent Method for Large-scale Linear SVM, ICML 2008, algorithm 1 and section 3.2. The
penalty is on the distance from the start instead of from zero: a row with few documents stays near it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from xmc.ops.compiled import in_parallel
from xmc.ops.lexical import dual_kernels as kernels

Rows = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]
_JOBS = 8  # into which the rows of a single node are cut


@dataclass(frozen=True, slots=True)
class Problem:
    """What rows are learned from.

    documents: CSR [N, V] in float32, sorted. members: CSC [N, P], the documents of each node, among which its rows are
    told apart. positives: CSC [N, R], the documents of each row. first: int64 [P + 1], the rows of each node, which
    follow one another. starts: CSR [R, V], where each row starts, before it is multiplied by `start`.
    """

    documents: csr_matrix
    members: csc_matrix
    positives: csc_matrix
    first: NDArray[np.int64]
    starts: csr_matrix
    start: float
    bias: float
    cost: float
    passes: int
    threshold: float
    most: int
    seed: int


def solve(problem: Problem) -> list[Rows]:
    """For each node, in order: terms int32 [E] and weights [E] of its rows, one after another, how many each has, and
    the rows' biases. The same bits with any number of threads.

    A row minimises |w - start|^2 / 2 + cost * the sum of max(0, 1 - y w.x)^2 over the documents of its node; the bias
    is a weight of a term that all documents have. Weights below `threshold` are left out, and all but the `most`
    largest.
    """
    documents, size = problem.documents, problem.documents.shape[1]
    jobs = [job for node in range(len(problem.first) - 1) for job in _jobs(problem, node)]
    found: list[Rows | None] = [None] * len(jobs)
    arrays = documents.indptr.astype(np.int64), documents.indices, documents.data
    positives, starts = problem.positives, problem.starts
    scalars = tuple(np.float32(x) for x in (problem.start, problem.bias, problem.cost, problem.threshold))

    def run(number: int, node: int, first: int, last: int) -> None:
        members = problem.members.indices[problem.members.indptr[node] : problem.members.indptr[node + 1]]
        if len(members) == documents.shape[0]:
            own, terms, place = arrays, np.arange(size, dtype=np.int32), np.arange(size, dtype=np.int32)
        else:
            place = np.full(size, -1, np.int32)
            *parts, terms = kernels.gather(members, *arrays, place)
            own = tuple(parts)
        found[number] = kernels.solve_rows(
            *(members, *own, terms, place, first, last),
            *(positives.indptr, positives.indices, starts.indptr, starts.indices, starts.data),
            *(*scalars, problem.passes, problem.most, problem.seed),
        )

    in_parallel(kernels.solve_rows, run, ((number, *job) for number, job in enumerate(jobs)))
    return _by_node([part for part in found if part is not None], [node for node, _, _ in jobs])


def _jobs(problem: Problem, node: int) -> list[tuple[int, int, int]]:
    first, last = int(problem.first[node]), int(problem.first[node + 1])
    step = max(1, -(-(last - first) // _JOBS)) if len(problem.first) < _JOBS else max(1, last - first)
    return [(node, start, min(start + step, last)) for start in range(first, last, step)]


def _by_node(parts: list[Rows], nodes: list[int]) -> list[Rows]:
    grouped: dict[int, list[Rows]] = {}
    for node, part in zip(nodes, parts, strict=True):
        grouped.setdefault(node, []).append(part)
    return [
        (np.concatenate(terms), np.concatenate(weights), np.concatenate(counts), np.concatenate(biases))
        for terms, weights, counts, biases in (zip(*grouped[node], strict=True) for node in sorted(grouped))
    ]
