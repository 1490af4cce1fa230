import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose

from xmc.errors import XMCError
from xmc.evaluate import Report, check_metric_name, evaluate, metric_names
from xmc.evaluate.metrics import leave_out, ndcg_at_k, psp_at_k, recall_by_bin
from xmc.evaluate.propensity import inverse_propensity

RNG = np.random.default_rng(3)
N, L = 50, 12
LABELS = RNG.permuted(np.tile(np.arange(L), (N, 1)), axis=1)[:, :6]
TRUTH = sp.csr_matrix(sp.random_array((N, L), density=0.15, format="csr", rng=RNG))
COUNTS = np.array([40, 20, 20, 9, 8, 8, 5, 4, 3, 2, 1, 0])
BINS = np.array([0] + [1] * 2 + [2] * 9)


@pytest.fixture
def report() -> Report:
    return evaluate(LABELS, TRUTH, train_counts=COUNTS, num_train=70)


def test_looks_up_by_name(report: Report) -> None:
    weight = inverse_propensity(COUNTS, 70)
    assert report["nDCG@5"] == ndcg_at_k(LABELS, TRUTH, 5)[4]
    assert report["PSP@3"] == psp_at_k(LABELS, TRUTH, weight, 3)[2]
    assert report["tail-R@1"] == recall_by_bin(LABELS, TRUTH, BINS, 1)[2, 0]
    assert_allclose(sum(report[f"{name}-P@5"] for name in ("head", "torso", "tail")), report["P@5"])
    assert report.documents == N and report.labels == L
    assert report.unlabelled == np.count_nonzero(TRUTH.toarray().sum(axis=1) == 0) > 0
    assert report.bin_labels == {"head": 1, "torso": 2, "tail": 9}


def test_other_cut_offs_and_constants() -> None:
    report = evaluate(LABELS, TRUTH, train_counts=COUNTS, num_train=70, ks=(2, 6), A=0.6, B=2.6)
    assert report["PSP@6"] == psp_at_k(LABELS, TRUTH, inverse_propensity(COUNTS, 70, 0.6, 2.6), 6)[5]
    assert tuple(report.metrics) == metric_names((2, 6))
    assert "@2" in report.table().splitlines()[0]


def test_filter() -> None:
    pairs = np.stack([np.arange(N), LABELS[:, 0]], axis=1)
    report = evaluate(LABELS, TRUTH, train_counts=COUNTS, num_train=70, filter=pairs)
    labels, truth = leave_out(LABELS, TRUTH, pairs)
    assert report["nDCG@5"] == ndcg_at_k(labels, truth, 5)[4]
    assert report.unlabelled == np.count_nonzero(np.diff(truth.indptr) == 0)


def test_round_trip_through_json(report: Report, tmp_path: Path) -> None:
    text = json.dumps(report.to_dict(), allow_nan=False)
    loaded = json.loads(text)
    assert loaded["metrics"] == report.metrics
    assert loaded == report.to_dict()


def test_an_empty_truth_is_still_json() -> None:
    report = evaluate(LABELS, sp.csr_matrix((N, L)), train_counts=COUNTS * 0, num_train=1)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["metrics"]["P@1"] == 0
    assert report.unlabelled == N


def test_table_is_aligned_and_in_percent(report: Report) -> None:
    head, *body = report.table().splitlines()[:-2]
    assert head.split() == ["@1", "@3", "@5"]
    assert {len(line) for line in (head, *body)} == {len(head)}
    row = next(line for line in body if line.startswith("P "))
    assert row.split()[1:] == [f"{100 * report[f'P@{k}']:.2f}" for k in (1, 3, 5)]


@pytest.mark.parametrize(
    ("name", "near"),
    [("p@1", "P@1"), ("ndgc@5", "nDCG@5"), ("F1-macro@5", "macro-F1@5"), ("P@10", "P@1"), ("", "P@1")],
)
def test_unknown_name_tells_the_near_miss(report: Report, name: str, near: str) -> None:
    with pytest.raises(XMCError, match="unknown metric") as error:
        report[name]
    if name:
        assert f"did you mean {near!r}" in str(error.value)
    with pytest.raises(XMCError):
        check_metric_name(name)


def test_every_name_is_known(report: Report) -> None:
    for name in metric_names():
        check_metric_name(name)
        assert 0 <= report[name] <= 1


@pytest.mark.parametrize("ks", [(), (0, 1), (3, 1), (1, 1), (1, 7)])
def test_bad_cut_offs(ks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="k"):
        evaluate(LABELS, TRUTH, train_counts=COUNTS, num_train=70, ks=ks)


def test_counts_of_other_labels() -> None:
    with pytest.raises(ValueError, match="inverse_propensity"):
        evaluate(LABELS, TRUTH, train_counts=COUNTS[:-1], num_train=70)
