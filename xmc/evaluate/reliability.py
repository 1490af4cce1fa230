"""How far probabilities can be trusted, and the scaling of logits that makes them so."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from xmc.evaluate.metrics import Values

Hits = NDArray[np.bool_]

BINS: Final = 15
_SPREAD = (0.5, 1.0)  # of log scale and shift around those that change nothing, before any pair is seen
_SCALES, _SHIFTS = (0.1, 10.0), (-10.0, 10.0)
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


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs of one range of probabilities: their mean probability, the share of them that is true, their number."""

    probability: float
    share: float
    pairs: int


def reliability(probabilities: Values, hits: Hits, bins: int = 10) -> list[ReliabilityBin]:
    """M pairs of document and label in bins of equal width by their probability; bins without a pair are left out."""
    bin_of = np.clip(np.ceil(probabilities * bins).astype(np.int64) - 1, 0, bins - 1)
    pairs = np.bincount(bin_of, minlength=bins)
    sums, true = (np.bincount(bin_of, weights=of, minlength=bins) for of in (probabilities, hits))
    return [ReliabilityBin(sums[i] / pairs[i], true[i] / pairs[i], int(pairs[i])) for i in np.flatnonzero(pairs)]


def log_loss(probabilities: Values, hits: Hits) -> float:
    """Mean negative log-likelihood of M pairs, in nats."""
    right = np.where(hits, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(right, _EPSILON)).mean())


def unchanged(logits: Values, hits: Hits) -> Scaling:
    """The scaling that changes nothing, whatever the pairs."""
    return Scaling(1.0, 0.0)


def fit_scaling(logits: Values, hits: Hits, *, shift: bool) -> Scaling:
    """The most probable scaling for M pairs: that of the least log loss, drawn towards no change where pairs are few.

    Without a shift it is temperature scaling (Guo et al., ICML 2017, section 4.2), with one Platt's (1999). The log of
    the scale and the shift have normal priors, because pairs that logits tell apart without an error would ask for an
    infinite scale, and a few are often of that kind.
    """

    def loss(parameters: Values) -> tuple[float, Values]:
        scale, offset = np.exp(parameters[0]), parameters[1]
        z = scale * logits + offset
        residual = expit(z) - hits
        pull = parameters / np.square(_SPREAD)
        gradient = np.array([scale * (residual * logits).mean(), residual.mean()])
        value = (np.logaddexp(0, z) - hits * z).mean() + (pull * parameters).sum() / 2 / len(hits)
        return float(value), gradient + pull / len(hits)

    from scipy.optimize import minimize

    bounds = [tuple(np.log(_SCALES)), _SHIFTS if shift else (0.0, 0.0)]
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12)
    return Scaling(float(np.exp(found.x[0])), float(found.x[1]))


def held_out(logits: Values, hits: Hits, folds: NDArray[np.integer], fit: Callable[[Values, Hits], Scaling]) -> Values:
    """Probability of each pair by the scaling that the pairs of the other folds ask for. folds: integers [M]."""
    probabilities = np.empty(len(logits))
    for fold in np.unique(folds):
        inside = folds == fold
        probabilities[inside] = fit(logits[~inside], hits[~inside])(logits[inside])
    return probabilities
