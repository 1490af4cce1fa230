"""The explanation of a blend's scores, as far as its rankings are those of models."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit

from xmc.model.explanation.contribution import Explanation, explanations
from xmc.model.explanation.explain import numbers_of, weighed
from xmc.model.explanation.ranking import Floats, Said
from xmc.model.explanation.shapley import coalitions, shapley_values
from xmc.model.explanation.stacked import listed_scores
from xmc.model.model import XMCModel
from xmc.types import TopK


def explain_blend(
    text: str, labels: Sequence[str], label_ids: Sequence[str], rankings: Sequence[tuple[XMCModel | None, float, TopK]]
) -> list[Explanation]:
    """See `Blend.explain`. rankings: model, if it is one's, weight and what it gives for the text, [1, k]."""
    if not labels:
        return []
    numbers = numbers_of(labels, label_ids)
    found, listed = listed_scores([top for *_, top in rankings], numbers)
    fixed, said, shares = np.zeros(len(numbers)), [], []
    for (model, share, _), scores in zip(rankings, found, strict=True):
        if model is None:
            fixed = fixed + share * scores
        else:
            words, one = _said(model, text, numbers)
            here = np.where(listed, scores, one.scores)
            said.append(Said(here, np.where(here > 0, one.empty, 0), one.weights))
            shares.append(share)
    if not said:
        return explanations(labels, text, np.zeros((0, 2), np.int64), _log_odds(fixed), np.zeros((0, len(labels))))
    here, empty = (np.stack([getattr(one, scores) for one in said]) for scores in ("scores", "empty"))
    present = coalitions(len(said))[:, :, None]
    values = _log_odds(fixed + (np.array(shares)[:, None] * np.where(present, here, empty)).sum(axis=1))
    parts = zip(said, shapley_values(values), strict=True)
    weights = np.sum([one.adding_up_to(total) for one, total in parts], axis=0)
    return explanations(labels, text, words, values[-1], weights)


def _said(model: XMCModel, text: str, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Said]:
    """The words of the text, and what the model says of the labels, in probabilities."""
    words, scores, weights = weighed(model, text, labels)
    here, empty = (_probability(model, logits) for logits in (scores, scores - weights.sum(axis=0)))
    return words, Said(here, empty, weights)


def _probability(model: XMCModel, logits: Floats) -> Floats:
    """Of what `weighed` gives."""
    if model.calibration is not None:
        return expit(logits)
    return model.raw_probability(torch.from_numpy(logits)).numpy()


def _log_odds(probabilities: Floats) -> Floats:
    """As `blended` has them."""
    return logit(np.clip(probabilities, 1e-30, 1 - 1e-7))
