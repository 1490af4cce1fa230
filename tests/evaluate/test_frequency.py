import numpy as np
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from xmc.evaluate import by_frequency, octaves
from xmc.evaluate.metrics import precision_at_k

COUNTS = np.array([0, 1, 2, 3, 4, 7, 8, 1023, 1024])


def test_octaves_double() -> None:
    assert_array_equal(octaves(COUNTS), [0, 1, 2, 2, 3, 3, 4, 10, 11])


def test_by_hand() -> None:
    labels = np.array([[7, 8], [2, -1]])
    truth = sp.csr_matrix(([1.0, 1, 1], ([0, 0, 1], [8, 3, 2])), shape=(2, 9))
    got = {(o.fewest, o.most): o for o in by_frequency(labels, truth, COUNTS, 2)}
    assert list(got) == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (512, 1023), (1024, 2047)]
    pair = got[2, 3]
    assert (pair.labels, pair.true) == (2, 2)
    assert_array_equal(pair.recall, [0.5, 0.5])
    assert_array_equal(pair.precision, [1, 1])
    assert_array_equal(got[1024, 2047].recall, [0, 1])
    assert_array_equal(got[512, 1023].precision, [0, 0])


def test_octaves_add_up_to_precision() -> None:
    rng = np.random.default_rng(2)
    labels = rng.permuted(np.tile(np.arange(9), (40, 1)), axis=1)[:, :4]
    truth = sp.csr_matrix(sp.random_array((40, 9), density=0.3, format="csr", rng=rng))
    found = sum(octave.found for octave in by_frequency(labels, truth, COUNTS, 4))
    assert_allclose(found / (40 * np.arange(1, 5)), precision_at_k(labels, truth, 4))
