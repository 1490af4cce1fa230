import math

import numpy as np
import pytest
import scipy.sparse as sp

from xmc.evaluate import Bootstrap, evaluate, resample, terms

N, L = 2500, 12
COUNTS = np.array([40, 20, 20, 9, 8, 8, 5, 4, 3, 2, 1, 0])
SETTING = {"train_counts": COUNTS, "num_train": 70, "ks": (1, 3), "A": 0.55, "B": 1.5}


def lists(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permuted(np.tile(np.arange(L), (N, 1)), axis=1)[:, :3]


TRUTH = sp.csr_matrix(sp.random_array((N, L), density=0.3, format="csr", rng=np.random.default_rng(0)))


@pytest.fixture(scope="module")
def replicates() -> Bootstrap:
    return resample(lists(1), TRUTH, **SETTING, replicates=800, seed=5)


def test_every_ratio_of_sums_is_resampled_around_its_value(replicates: Bootstrap) -> None:
    report = evaluate(lists(1), TRUTH, **SETTING)
    without = {name for name in report.metrics if replicates.interval(name) is None}
    assert {name.partition("@")[0] for name in without} == {"macro-F1", "coverage"}
    for name in report.metrics.keys() - without:
        sample = replicates.replicates[name]
        assert abs(sample.mean() - report[name]) < 5 * sample.std() / math.sqrt(len(sample))
        interval = replicates.interval(name)
        assert interval is not None and interval.holds(report[name])


def test_the_spread_is_that_of_a_mean(replicates: Bootstrap) -> None:
    p = evaluate(lists(1), TRUTH, **SETTING)["P@1"]
    assert replicates.replicates["P@1"].std() == pytest.approx(math.sqrt(p * (1 - p) / N), rel=0.1)


def test_seed_decides_and_chunks_do_not(replicates: Bootstrap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "CHUNK", 1024)
    again = resample(lists(1), TRUTH, **SETTING, replicates=800, seed=5)
    np.testing.assert_allclose(again.replicates["PSP@3"], replicates.replicates["PSP@3"], rtol=1e-12)
    other = resample(lists(1), TRUTH, **SETTING, replicates=800, seed=6)
    assert not np.isclose(other.replicates["PSP@3"], replicates.replicates["PSP@3"]).all()


def test_differences_are_paired(replicates: Bootstrap) -> None:
    labels = lists(1)
    labels[:50] = lists(2)[:50]
    near = resample(labels, TRUTH, **SETTING, replicates=800, seed=5)
    paired, alone = near.difference(replicates, "P@3"), replicates.interval("P@3")
    assert paired is not None and alone is not None
    assert 0 < paired.high - paired.low < 0.3 * (alone.high - alone.low)
    assert near.difference(replicates, "coverage@1") is None
