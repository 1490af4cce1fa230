import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from xmc.evaluate import terms
from xmc.evaluate.metrics import (
    coverage_at_k,
    f1_at_k,
    frequency_bins,
    leave_out,
    ndcg_at_k,
    precision_at_k,
    precision_by_bin,
    psndcg_at_k,
    psp_at_k,
    ranked_labels,
    recall_at_k,
    recall_by_bin,
)
from xmc.evaluate.propensity import inverse_propensity
from xmc.types import TopK


def csr(rows: list[list[int]], num_labels: int) -> sp.csr_matrix:
    offsets = np.cumsum([0, *map(len, rows)])
    indices = np.array([label for row in rows for label in sorted(row)], dtype=np.int32)
    return sp.csr_matrix((np.ones(len(indices)), indices, offsets), shape=(len(rows), num_labels))


def topk_of_csr(scores: sp.csr_matrix, k: int) -> TopK:
    """The k largest stored scores of each row; equal ones by ascending label."""
    labels, values = np.full((scores.shape[0], k), -1), np.full((scores.shape[0], k), -np.inf)
    for i in range(scores.shape[0]):
        row = scores[i].tocoo()
        order = np.lexsort((row.col, -row.data))[:k]
        labels[i, : len(order)], values[i, : len(order)] = row.col[order], row.data[order]
    return TopK(torch.from_numpy(values), torch.from_numpy(labels))


# Three documents, five labels. Document 1 has no label; document 2 has fewer candidates than ranks.
LABELS = np.array([[0, 1, 2], [3, 0, 1], [4, -1, -1]])
TRUTH = csr([[0, 2, 3, 4], [], [1, 4]], num_labels=5)
WEIGHT = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
LOG3, LOG4 = math.log2(3), 2.0


class TestByHand:
    def test_precision(self) -> None:
        assert_allclose(precision_at_k(LABELS, TRUTH, 3), [2 / 3, 2 / 6, 3 / 9], rtol=1e-15)

    def test_recall(self) -> None:
        assert_allclose(recall_at_k(LABELS, TRUTH, 3), [0.75 / 3, 0.75 / 3, 1 / 3], rtol=1e-15)

    def test_ndcg(self) -> None:
        two, three = 1 + 1 / LOG3, 1 + 1 / LOG3 + 1 / LOG4
        expected = [2 / 3, (1 / two + 1 / two) / 3, ((1 + 1 / LOG4) / three + 1 / two) / 3]
        assert_allclose(ndcg_at_k(LABELS, TRUTH, 3), expected, rtol=1e-15)

    def test_psp_is_a_ratio_of_means(self) -> None:
        expected = [(1 + 5) / (5 + 5), (1 + 5) / (9 + 7), (4 + 5) / (12 + 7)]
        assert_allclose(psp_at_k(LABELS, TRUTH, WEIGHT, 3), expected, rtol=1e-15)

    def test_psndcg_is_a_ratio_of_means(self) -> None:
        two, three = 1 + 1 / LOG3, 1 + 1 / LOG3 + 1 / LOG4
        gained = (1 + 3 / LOG4) / three + 5 / two
        possible = (5 + 4 / LOG3 + 3 / LOG4) / three + (5 + 2 / LOG3) / two
        assert_allclose(psndcg_at_k(LABELS, TRUTH, WEIGHT, 3)[[0, 2]], [6 / 10, gained / possible], rtol=1e-15)

    def test_f1(self) -> None:
        # micro: 2 TP / (predictions + true labels). macro: labels 0, 1, 2, 3, 4 all have a true document.
        assert_allclose(f1_at_k(LABELS, TRUTH, 3, "micro"), [4 / (3 + 6), 4 / (5 + 6), 6 / (7 + 6)], rtol=1e-15)
        per_label = [2 / (2 + 1), 0, 2 / (1 + 1), 0, 2 / (1 + 2)]
        assert_allclose(f1_at_k(LABELS, TRUTH, 3, "macro")[2], np.mean(per_label), rtol=1e-15)

    def test_macro_f1_and_coverage_leave_out_labels_without_a_true_document(self) -> None:
        truth = csr([[0], [0]], num_labels=4)
        labels = np.array([[0, 1], [2, 0]])
        assert_allclose(f1_at_k(labels, truth, 2, "macro"), [2 / 3, 1], rtol=1e-15)
        assert_allclose(coverage_at_k(labels, truth, 2), [1, 1], rtol=1e-15)

    def test_coverage(self) -> None:
        assert_allclose(coverage_at_k(LABELS, TRUTH, 3), [2 / 5, 2 / 5, 3 / 5], rtol=1e-15)

    def test_by_bin(self) -> None:
        bins = np.array([0, 0, 1, 2, 2])
        assert_allclose(
            precision_by_bin(LABELS, TRUTH, bins, 3), [[1 / 3, 1 / 6, 1 / 9], [0, 0, 1 / 9], [1 / 3, 1 / 6, 1 / 9]]
        )
        # Documents with true labels in the bin: head 0 and 2, torso 0, tail 0 and 2.
        assert_allclose(recall_by_bin(LABELS, TRUTH, bins, 3), [[0.5, 0.5, 0.5], [0, 0, 1], [0.5, 0.5, 0.5]])

    def test_nothing_is_true(self) -> None:
        nothing = csr([[], [], []], num_labels=5)
        for value in all_metrics(LABELS, nothing, WEIGHT, np.zeros(5, dtype=np.int64), 3).values():
            assert_array_equal(value, np.zeros_like(value))

    def test_no_candidates_at_all(self) -> None:
        for value in all_metrics(np.full((3, 2), -1), TRUTH, WEIGHT, np.zeros(5, dtype=np.int64), 2).values():
            assert_array_equal(value, np.zeros_like(value))

    def test_stored_zeros_and_unsorted_rows_do_not_change_the_truth(self) -> None:
        truth = sp.csr_matrix(([1, 0, 1, 7], [2, 3, 0, 1], [0, 3, 4]), shape=(2, 4))
        labels = np.array([[3, 0], [1, 2]])
        assert_allclose(recall_at_k(labels, truth, 2), [0.5, 0.75])
        assert truth.nnz == 4  # the argument is left alone


class TestFrequencyBins:
    def test_each_bin_takes_a_third_of_the_assignments(self) -> None:
        counts = np.array([2, 30, 0, 15, 15, 9, 9, 1, 9])
        # 30 of 90 are head; the two 15s begin at 30 and end at 60: torso; the rest is tail.
        assert_array_equal(frequency_bins(counts), [2, 0, 2, 1, 1, 2, 2, 2, 2])

    def test_equal_frequencies_share_a_bin(self) -> None:
        assert_array_equal(frequency_bins(np.array([4, 4, 4, 4, 1])), [0, 0, 0, 0, 2])

    def test_without_training_documents_all_is_tail(self) -> None:
        assert_array_equal(frequency_bins(np.zeros(3, dtype=np.int64)), [2, 2, 2])

    @pytest.mark.parametrize("counts", [np.array([1, -1]), np.array([0.5]), np.ones((2, 2), dtype=np.int64)])
    def test_bad_counts(self, counts: np.ndarray) -> None:
        with pytest.raises(ValueError, match="train_counts"):
            frequency_bins(counts)


class TestRankedLabels:
    def test_ties_rank_by_ascending_label(self) -> None:
        scores = torch.tensor([[2.0, 1.0, 1.0, -torch.inf]])
        assert_array_equal(ranked_labels(TopK(scores, torch.tensor([[5, 1, 3, -1]]))), [[5, 1, 3, -1]])
        with pytest.raises(ValueError, match="document 0"):
            ranked_labels(TopK(scores, torch.tensor([[5, 3, 1, -1]])))

    @pytest.mark.parametrize(
        ("scores", "labels"),
        [
            ([1.0, 2.0], [0, 1]),
            ([1.0, math.nan], [0, 1]),
            ([math.nan, 1.0], [0, 1]),
            ([-math.inf, -math.inf], [-1, 0]),
        ],
    )
    def test_unranked(self, scores: list[float], labels: list[int]) -> None:
        good = TopK(torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 1]]))
        with pytest.raises(ValueError, match=r"topk.*document 1"):
            ranked_labels(TopK.cat([good, TopK(torch.tensor([scores]), torch.tensor([labels]))]))


class TestLeaveOut:
    def test_the_rest_moves_up_in_order(self) -> None:
        labels, truth = leave_out(LABELS, TRUTH, np.array([[0, 0], [0, 4], [2, 4], [0, 0]]))
        assert_array_equal(labels, [[1, 2, -1], [3, 0, 1], [-1, -1, -1]])
        assert_array_equal(truth.toarray(), csr([[2, 3], [], [1]], 5).toarray())
        assert_array_equal(LABELS[0], [0, 1, 2])
        assert TRUTH.nnz == 6

    def test_a_missing_candidate_is_no_label_of_the_document_before(self) -> None:
        labels, _ = leave_out(np.array([[0, 1], [1, -1]]), csr([[0], [1]], 2), np.array([[0, 1]]))
        assert_array_equal(labels, [[0, -1], [1, -1]])

    def test_no_pairs(self) -> None:
        labels, truth = leave_out(LABELS, TRUTH, np.empty((0, 2), dtype=np.int64))
        assert_array_equal(labels, LABELS)
        assert_array_equal(truth.toarray(), TRUTH.toarray())

    @pytest.mark.parametrize("pairs", [[[3, 0]], [[0, 5]], [[0, -1]], [[0, 1, 2]], [[0.0, 1.0]]])
    def test_bad_pairs(self, pairs: list[list[int]]) -> None:
        with pytest.raises(ValueError, match="pairs"):
            leave_out(LABELS, TRUTH, np.array(pairs))


@pytest.mark.parametrize(
    ("labels", "truth", "k", "names"),
    [
        (np.array([[0, 1], [2, 2]]), csr([[0], [1]], 3), 2, "labels: document 1 lists a label twice"),
        (np.array([[0, 3], [2, 1]]), csr([[0], [1]], 3), 2, "labels: .*-1 to 2"),
        (np.array([[0, -2], [2, 1]]), csr([[0], [1]], 3), 2, "labels: .*-1 to 2"),
        (np.array([[0.0, 1.0]]), csr([[0]], 3), 2, "labels: .*float64"),
        (np.array([0, 1]), csr([[0], [1]], 3), 1, "labels"),
        (np.array([[0, 1]]), csr([[0], [1]], 3), 2, "truth: .*2 and 1"),
        (np.empty((0, 2), dtype=np.int64), csr([], 3), 2, "truth: .*at least 1"),
        (np.array([[0, 1]]), csr([[0]], 3).toarray(), 2, "truth: .*CSR"),
        (np.array([[0, 1]]), csr([[0]], 3).tocsc(), 2, "truth: .*CSR"),
        (np.array([[0, 1]]), csr([[0]], 3), 3, "k: .*1 to 2"),
        (np.array([[0, 1]]), csr([[0]], 3), 0, "k: .*1 to 2"),
    ],
)
@pytest.mark.parametrize("metric", [precision_at_k, recall_at_k, ndcg_at_k, coverage_at_k])
def test_bad_arguments(metric: Callable, labels: np.ndarray, truth: sp.csr_matrix, k: int, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        metric(labels, truth, k)


@pytest.mark.parametrize("metric", [psp_at_k, psndcg_at_k])
def test_one_inverse_propensity_a_label(metric: Callable) -> None:
    with pytest.raises(ValueError, match="inverse_propensity"):
        metric(LABELS, TRUTH, np.ones(4), 3)


def all_metrics(
    labels: np.ndarray, truth: sp.csr_matrix, weight: np.ndarray, bins: np.ndarray, k: int
) -> dict[str, np.ndarray]:
    return {
        "precision": precision_at_k(labels, truth, k),
        "recall": recall_at_k(labels, truth, k),
        "ndcg": ndcg_at_k(labels, truth, k),
        "psp": psp_at_k(labels, truth, weight, k),
        "psndcg": psndcg_at_k(labels, truth, weight, k),
        "samples": f1_at_k(labels, truth, k, "samples"),
        "micro": f1_at_k(labels, truth, k, "micro"),
        "macro": f1_at_k(labels, truth, k, "macro"),
        "coverage": coverage_at_k(labels, truth, k),
        "precision_by_bin": precision_by_bin(labels, truth, bins, k),
        "recall_by_bin": recall_by_bin(labels, truth, bins, k),
    }


def brute_force(
    labels: np.ndarray, truth: list[set[int]], weight: np.ndarray, bins: np.ndarray, k: int
) -> dict[str, float | list[float]]:
    """The same metrics at k alone, written down once more with sets and loops."""
    lists = [[int(label) for label in row[:k] if label >= 0] for row in labels]
    pairs = list(zip(lists, truth, strict=True))
    n, num_labels = len(lists), len(weight)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    def dcg(gains: list[float]) -> float:
        return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:k]))

    def gains(row: list[int], true: set[int], w: np.ndarray) -> list[float]:
        return [float(w[label]) if label in true else 0.0 for label in row]

    def best(true: set[int]) -> list[float]:
        return sorted((float(weight[label]) for label in true), reverse=True)[:k]

    def normalised(values: list[float], true: set[int]) -> float:
        return dcg(values) / dcg([1.0] * len(true)) if true else 0.0

    ones = np.ones(num_labels)
    tp = [sum(label in row and label in true for row, true in pairs) for label in range(num_labels)]
    said = [sum(label in row for row in lists) for label in range(num_labels)]
    held = [sum(label in true for true in truth) for label in range(num_labels)]
    present = [label for label in range(num_labels) if held[label]]
    possible = sum(sum(best(true)) for true in truth)
    possible_dcg = sum(normalised(best(true), true) for true in truth)
    return {
        "precision": sum(tp) / (n * k),
        "recall": mean([len(set(row) & true) / max(1, len(true)) for row, true in pairs]),
        "ndcg": mean([normalised(gains(row, true, ones), true) for row, true in pairs]),
        "psp": sum(sum(gains(row, true, weight)) for row, true in pairs) / possible if possible else 0.0,
        "psndcg": sum(normalised(gains(row, true, weight), true) for row, true in pairs) / possible_dcg
        if possible_dcg
        else 0.0,
        "samples": mean([2 * len(set(row) & true) / max(1, len(row) + len(true)) for row, true in pairs]),
        "micro": float(Fraction(2 * sum(tp), sum(said) + sum(held))) if sum(said) + sum(held) else 0.0,
        "macro": mean([2 * tp[label] / (said[label] + held[label]) for label in present]),
        "coverage": mean([float(tp[label] > 0) for label in present]),
        "precision_by_bin": [sum(t for t, c in zip(tp, bins, strict=True) if c == b) / (n * k) for b in range(3)],
        "recall_by_bin": [
            mean([len(set(row) & own) / len(own) for row, true in pairs if (own := {x for x in true if bins[x] == b})])
            for b in range(3)
        ],
    }


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, list[set[int]], np.ndarray, np.ndarray, int]:
    num_labels = draw(st.integers(1, 8))
    n, k = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    label = st.integers(0, num_labels - 1)
    lists = [draw(st.lists(label, unique=True, max_size=k)) for _ in range(n)]
    labels = np.array([row + [-1] * (k - len(row)) for row in lists])
    truth = [draw(st.sets(label)) for _ in range(n)]
    weight = np.array(draw(st.lists(st.sampled_from([1.0, 1.5, 2.25, 9.0]), min_size=num_labels, max_size=num_labels)))
    bins = np.array(draw(st.lists(st.integers(0, 2), min_size=num_labels, max_size=num_labels)))
    return labels, truth, weight, bins, k


class TestProperties:
    @given(cases(), st.integers(1, 8))
    def test_equal_to_brute_force_at_every_cut_off_and_chunk(self, case: tuple, chunk: int) -> None:
        labels, truth, weight, bins, k = case
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(terms, "CHUNK", chunk)
            got = all_metrics(labels, csr(list(map(list, truth)), len(weight)), weight, bins, k)
        for j in range(1, k + 1):
            for name, value in brute_force(labels, truth, weight, bins, j).items():
                assert_allclose(got[name][..., j - 1], value, rtol=1e-12, atol=1e-15, err_msg=f"{name}@{j}")

    @given(cases())
    def test_range_and_monotonicity(self, case: tuple) -> None:
        labels, truth, weight, bins, k = case
        got = all_metrics(labels, csr(list(map(list, truth)), len(weight)), weight, bins, k)
        for value in got.values():
            assert value.dtype == np.float64
            assert (value >= 0).all() and (value <= 1 + 1e-12).all()
        for name in ("recall", "coverage", "recall_by_bin"):
            assert (np.diff(got[name]) >= -1e-15).all()
        assert_allclose(got["precision_by_bin"].sum(axis=0), got["precision"], atol=1e-15)

    @given(cases(), st.randoms(use_true_random=False))
    def test_the_order_of_documents_does_not_matter(self, case: tuple, random: object) -> None:
        labels, truth, weight, bins, k = case
        matrix = csr(list(map(list, truth)), len(weight))
        order = list(range(len(labels)))
        random.shuffle(order)  # type: ignore[attr-defined]
        shuffled = all_metrics(labels[order], matrix[order], weight, bins, k)
        for name, value in all_metrics(labels, matrix, weight, bins, k).items():
            assert_allclose(shuffled[name], value, rtol=1e-12, err_msg=name)

    @given(cases())
    def test_a_perfect_list_reaches_one(self, case: tuple) -> None:
        _, truth, weight, bins, _ = case
        truth = [true or {0} for true in truth]
        k = max(map(len, truth))
        lists = [sorted(true, key=lambda label: -weight[label]) for true in truth]
        labels = np.array([row + [-1] * (k - len(row)) for row in lists])
        got = all_metrics(labels, csr(list(map(list, truth)), len(weight)), weight, bins, k)
        for name in ("recall", "ndcg", "psp", "psndcg", "micro", "macro", "coverage"):
            assert_allclose(got[name][-1], 1, rtol=1e-12, err_msg=name)

    @given(cases(), st.data())
    def test_leave_out(self, case: tuple, data: st.DataObject) -> None:
        labels, truth, weight, _, _ = case
        pair = st.tuples(st.integers(0, len(labels) - 1), st.integers(0, len(weight) - 1))
        pairs = data.draw(st.sets(pair))
        kept, rest = leave_out(
            labels, csr(list(map(list, truth)), len(weight)), np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
        )
        for i, row in enumerate(labels):
            expected = [label for label in row if label >= 0 and (i, label) not in pairs]
            assert_array_equal(kept[i], expected + [-1] * (len(row) - len(expected)))
            assert set(rest[i].indices) == {label for label in truth[i] if (i, label) not in pairs}


def test_more_documents_than_a_chunk() -> None:
    rng = np.random.default_rng(0)
    n = terms.CHUNK + 100
    labels = rng.permuted(np.tile(np.arange(9), (n, 1)), axis=1)[:, :4]
    truth = sp.random_array((n, 9), density=0.3, format="csr", rng=rng)
    one = np.take_along_axis(truth.toarray() > 0, labels, axis=1)
    assert_allclose(precision_at_k(labels, truth, 4), one.cumsum(axis=1).mean(axis=0) / np.arange(1, 5), rtol=1e-12)


class TestGolden:
    """Figures of pyxclib 0.97, see shared/golden/README.md."""

    @pytest.fixture(scope="class")
    def golden(self, shared: Path) -> tuple[np.ndarray, sp.csr_matrix, np.ndarray, dict]:
        folder = shared / "golden" / "metrics"
        expected = json.loads((folder / "expected.json").read_text())
        train = sp.load_npz(folder / "train_labels.npz")
        weight = inverse_propensity(np.bincount(train.indices, minlength=train.shape[1]), train.shape[0])
        labels = ranked_labels(topk_of_csr(sp.load_npz(folder / "scores.npz"), expected["k"]))
        return labels, sp.load_npz(folder / "test_labels.npz"), weight, expected

    def test_propensity(self, golden: tuple) -> None:
        *_, weight, expected = golden
        assert_allclose(weight[:10], expected["inverse_propensity_first10"], rtol=1e-12)

    @pytest.mark.parametrize(
        ("name", "metric", "tolerance"),
        [("precision", precision_at_k, 1e-12), ("recall", recall_at_k, 1e-12), ("ndcg", ndcg_at_k, 1e-7)],
    )
    def test_plain(self, golden: tuple, name: str, metric: Callable, tolerance: float) -> None:
        labels, truth, _, expected = golden
        assert_allclose(metric(labels, truth, expected["k"]), expected[name], rtol=0, atol=tolerance)

    @pytest.mark.parametrize(
        ("name", "metric", "tolerance"), [("psprecision", psp_at_k, 1e-12), ("psndcg", psndcg_at_k, 1e-7)]
    )
    def test_propensity_scored(self, golden: tuple, name: str, metric: Callable, tolerance: float) -> None:
        labels, truth, weight, expected = golden
        assert_allclose(metric(labels, truth, weight, expected["k"]), expected[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_pyxclib(seed: int) -> None:
    xc_metrics = pytest.importorskip("xclib.evaluation.xc_metrics", reason="pyxclib is not installed, see the README")
    rng = np.random.default_rng(seed)
    n, num_labels, k = 211, 97, 5
    scores = sp.random(n, num_labels, density=0.08, format="csr", random_state=rng)
    truth = sp.random(n, num_labels, density=0.04, format="csr", random_state=rng).astype(bool).astype(np.float64)
    train = sp.random(500, num_labels, density=0.05, format="csr", random_state=rng).astype(bool).astype(np.float64)
    assert (np.diff(truth.indptr) == 0).any() and (np.diff(scores.indptr) < k).any()
    weight = inverse_propensity(np.bincount(train.indices, minlength=num_labels), 500, 0.6, 2.6)
    assert_allclose(weight, xc_metrics.compute_inv_propesity(train, 0.6, 2.6), rtol=1e-12)
    labels = topk_of_csr(scores, k).labels.numpy()
    for ours, theirs, tolerance in [
        (precision_at_k(labels, truth, k), xc_metrics.precision(scores, truth, k=k), 1e-12),
        (recall_at_k(labels, truth, k), xc_metrics.recall(scores, truth, k=k), 1e-12),
        (ndcg_at_k(labels, truth, k), xc_metrics.ndcg(scores, truth, k=k), 2e-7),
        (psp_at_k(labels, truth, weight, k), xc_metrics.psprecision(scores, truth, weight, k=k), 1e-12),
        (psndcg_at_k(labels, truth, weight, k), xc_metrics.psndcg(scores, truth, weight, k=k), 2e-7),
    ]:
        assert_allclose(ours, theirs, rtol=tolerance)


def test_agrees_with_scikit_learn() -> None:
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    dense = (rng.random((60, 12)) < 0.2).astype(np.int64)
    dense[:, [3, 7]] = 0
    dense[[5, 6]] = 0
    truth = sp.csr_array(dense)
    labels = rng.permuted(np.tile(np.arange(12), (60, 1)), axis=1)[:, :4]
    labels[6:9, 1:] = -1
    labels[6] = -1
    for k in range(1, 5):
        predicted = np.zeros((60, 12), dtype=np.int64)
        documents, ranks = (labels[:, :k] >= 0).nonzero()
        predicted[documents, labels[documents, ranks]] = 1
        present = np.flatnonzero(dense.sum(axis=0))
        samples = sk.f1_score(dense, predicted, average="samples", zero_division=0)  # Annif's F1@k (doc avg)
        micro = sk.f1_score(dense, predicted, average="micro")
        macro = sk.f1_score(dense, predicted, average="macro", labels=present, zero_division=0)
        assert_allclose(f1_at_k(labels, truth, 4, "samples")[k - 1], samples, rtol=1e-12)
        assert_allclose(f1_at_k(labels, truth, 4, "micro")[k - 1], micro, rtol=1e-12)
        assert_allclose(f1_at_k(labels, truth, 4, "macro")[k - 1], macro, rtol=1e-12)
