"""Rankings side by side: each label once, with what each ranking says of it."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from xmc.model.lexical import candidates, meta_features, num_features, prior
from xmc.types import TopK

RANKING = st.dictionaries(st.integers(0, 9), st.floats(0.015625, 1, width=32), max_size=6)


def ranking(scores: dict[int, float]) -> TopK:
    """One document's, with two places that nothing fills."""
    labels = [*scores, -1, -1]
    return TopK(torch.tensor([[*scores.values(), 0.0, 0.0]]), torch.tensor([labels]))


@given(st.lists(RANKING, min_size=3, max_size=3))
def test_each_label_once_with_its_scores(rankings: list[dict[int, float]]) -> None:
    labels, scores = candidates([ranking(one) for one in rankings])
    found = [label for label in labels[0].tolist() if label >= 0]
    assert found == sorted(set().union(*rankings)) == labels[0, : len(found)].tolist()
    for of_one, one in zip(scores, rankings, strict=True):
        assert of_one[0, : len(found)].tolist() == [one.get(label, 0.0) for label in found]
        assert not of_one[0, len(found) :].any()


def test_a_label_that_the_others_do_not_know_changes_nothing_for_them() -> None:
    scores = np.random.default_rng(0).random((3, 2, 4), np.float32) / 2
    counts = np.array([[3, 1, 7, 2]] * 2)
    more = np.concatenate([scores, np.ones((3, 2, 1), np.float32)], axis=2)
    among = meta_features(more, np.concatenate([counts, [[0], [0]]], axis=1))
    np.testing.assert_array_equal(among[:, :, :-1], meta_features(scores, counts))


def test_the_prior_gives_nothing_for_a_fourth_ranking() -> None:
    scores, counts = np.random.default_rng(0).random((4, 2, 5), np.float32), np.array([[1, 2, 30, 0, 5]] * 2)
    of_four = np.tensordot(prior(4), meta_features(scores, counts), 1)
    np.testing.assert_allclose(of_four, np.tensordot(prior(3), meta_features(scores[:3], counts), 1), atol=1e-5)
    assert len(prior(4)) == num_features(4) and np.count_nonzero(prior(4)) == num_features(3)


def test_features_are_as_many_as_told_and_the_first_is_the_mixture() -> None:
    scores = np.array([[[0.8, 0.0]], [[0.5, 0.25]], [[0.1, 1.0]]], np.float32)
    features = meta_features(scores, np.array([[100, 1]]))
    assert features.shape == (num_features(3), 1, 2) and np.isfinite(features).all()
    np.testing.assert_allclose(expit(features[0, 0]), [0.61, 0.2], atol=2e-4)
    np.testing.assert_array_equal(features[9, 0], [1, 0])  # the share of the network's best
