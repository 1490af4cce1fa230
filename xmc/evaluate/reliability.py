"""How far probabilities can be trusted, and the scaling of logits that makes them so."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from xmc.evaluate.metrics import Values

Hits = NDArray[np.bool_]

BINS: Final = 15
_SCALES = (0.02, 50.0)  # pairs that logits tell apart without an error would ask for an infinite one
_SHIFTS = (-50.0, 50.0)
_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class Scaling:
    """probability = sigmoid(scale * logit + shift). scale, 1 / temperature, is above 0: no ranking changes."""

    scale: float
    shift: float

    def __call__(self, logits: Values) -> Values:
        return expit(self.scale * logits + self.shift)


def expected_calibration_error(probabilities: Values, hits: Hits, bins: int = BINS) -> float:
    """Expected calibration error of M pairs of document and label, from 0 (best) to 1.

    The pairs fall into bins of equal width by their probability, (i / bins, (i + 1) / bins]; the error is the mean over
    the pairs of |share of true pairs - mean probability| of their bin (Guo et al., ICML 2017, equation 3).
    Raises ValueError for shapes that differ, no pairs, and probabilities outside 0..1.
    """
    if probabilities.shape != hits.shape or probabilities.ndim != 1 or not len(hits):
        raise ValueError(f"expected as many probabilities as hits, [M], got {probabilities.shape} and {hits.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(f"expected probabilities from 0 to 1, got {probabilities.min()} to {probabilities.max()}")
    bin_of = np.clip(np.ceil(probabilities * bins).astype(np.int64) - 1, 0, bins - 1)
    surplus = np.bincount(bin_of, weights=hits - probabilities, minlength=bins)
    return float(np.abs(surplus).sum() / len(hits))


def log_loss(probabilities: Values, hits: Hits) -> float:
    """Mean negative log-likelihood of M pairs, in nats."""
    right = np.where(hits, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(right, _EPSILON)).mean())


def fit_scaling(logits: Values, hits: Hits, *, shift: bool) -> Scaling:
    """The scaling with the least log loss on M pairs.

    Without a shift it is temperature scaling (Guo et al., ICML 2017, section 4.2), with one Platt's (1999).
    """

    def loss(parameters: Values) -> tuple[float, Values]:
        z = parameters[0] * logits + parameters[1]
        residual = expit(z) - hits
        return float((np.logaddexp(0, z) - hits * z).mean()), np.array([(residual * logits).mean(), residual.mean()])

    bounds = [_SCALES, _SHIFTS if shift else (0.0, 0.0)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12)
    return Scaling(*map(float, found.x))


def held_out(logits: Values, hits: Hits, folds: NDArray[np.integer], fit: Callable[[Values, Hits], Scaling]) -> Values:
    """Probability of each pair by the scaling that the pairs of the other folds ask for. folds: integers [M]."""
    probabilities = np.empty(len(logits))
    for fold in np.unique(folds):
        inside = folds == fold
        probabilities[inside] = fit(logits[~inside], hits[~inside])(logits[inside])
    return probabilities
