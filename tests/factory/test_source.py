import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from xmc.factory.source import _carriers_first, _prior_shift

CARRIERS = np.array([3, 500, 998])
PAIRS = csr_matrix((np.ones(3), (CARRIERS, [0, 1, 0])), shape=(1000, 2))


def test_documents_with_a_new_label_come_first() -> None:
    some = _carriers_first(PAIRS, 20, 0)
    assert len(some) == 20 and set(CARRIERS) < set(some) and (np.diff(some) > 0).all()
    assert set(_carriers_first(PAIRS, 2, 0)) < set(CARRIERS)
    assert _carriers_first(PAIRS, 5000, 0).tolist() == list(range(1000))


@pytest.mark.parametrize(("most", "shift"), [(5000, 0.0), (20, math.log(20 / 1000)), (2, math.log(2 / 1000 * 3 / 2))])
def test_odds_of_chosen_documents(most: int, shift: float) -> None:
    assert _prior_shift(PAIRS, PAIRS[_carriers_first(PAIRS, most, 0)]) == pytest.approx(shift)


def test_a_learner_is_put_right() -> None:
    """The log-odds of a label among the chosen documents, shifted, are those among all."""
    chosen = PAIRS[_carriers_first(PAIRS, 100, 0)]
    among = [np.asarray(rows.sum(0)).ravel() / rows.shape[0] for rows in (PAIRS, chosen)]
    everywhere, here = (np.log(p / (1 - p)) for p in among)
    np.testing.assert_allclose(here + _prior_shift(PAIRS, chosen), everywhere, atol=0.02)
