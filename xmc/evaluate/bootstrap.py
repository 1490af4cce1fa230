"""How far a metric would move with other documents of the same kind: the bootstrap over documents.

Each replicate weighs each document by a Poisson(1) number, which stands for drawing N documents with replacement and
needs no second pass (Chamandy et al., "Estimating Uncertainty for Massive Data Streams", Google, 2012). Two models
measured on the same documents under the same seed get the same weights, so replicates subtract in pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate import metrics
from xmc.evaluate.propensity import inverse_propensity
from xmc.evaluate.terms import CSR, Labels, Terms, Values, blocks, families, ratio

_DOCUMENTS = 1024  # weighted at a time: replicates x documents numbers are held


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95% of the replicates."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Replicates of each metric that is a ratio of sums over documents, float64 [replicates] by name."""

    replicates: Mapping[str, Values]

    def interval(self, name: str) -> Interval | None:
        """Of a metric such as `P@1`; None for macro-F1 and coverage, which are means over labels."""
        return _middle(self.replicates[name]) if name in self.replicates else None

    def difference(self, other: "Bootstrap", name: str) -> Interval | None:
        """Of this one's value minus the other's, document by document; both must be of the same documents and seed."""
        if name not in self.replicates or name not in other.replicates:
            return None
        return _middle(self.replicates[name] - other.replicates[name])


def resample(
    labels: Labels,
    truth: CSR,
    *,
    train_counts: NDArray[np.integer],
    num_train: int,
    ks: Sequence[int],
    A: float,
    B: float,
    replicates: int,
    seed: int,
) -> Bootstrap:
    """Resample the documents of `labels` [N, >= max(ks)] and `truth`, CSR [N, L].

    The other arguments are those of `evaluate`. Memory is O(replicates * (1024 + metrics)), whatever N.
    """
    k = max(ks)
    weight = inverse_propensity(train_counts, num_train, A, B)
    truth = metrics.checked(labels, truth, k, inverse_propensity=weight)
    by_family = families(weight, metrics.frequency_bins(train_counts))
    gained, counted = np.zeros((2, replicates, len(by_family) * len(ks)))
    first = 0
    for block in blocks(labels, truth, k):
        of_documents = _at(ks, [terms(block) for terms in by_family.values()])
        for start in range(0, len(block.counts), _DOCUMENTS):
            rows = slice(start, start + _DOCUMENTS)
            drawn = _weights(seed, first + start, (replicates, len(of_documents[0][rows])))
            gained += drawn @ of_documents[0][rows]
            counted += drawn @ of_documents[1][rows]
        first += len(block.counts)
    names = [f"{family}@{cut}" for family in by_family for cut in ks]
    return Bootstrap(dict(zip(names, ratio(gained, counted).T, strict=True)))


def _at(ks: Sequence[int], of_families: list[Terms]) -> Terms:
    """The terms of all families at the cut-offs, side by side, [n, families * ks]."""
    columns = np.array(ks) - 1
    gained, counted = (np.concatenate([terms[i][:, columns] for terms in of_families], axis=1) for i in (0, 1))
    return gained, counted


def _weights(seed: int, first: int, shape: tuple[int, int]) -> Values:
    """How often each of a run of documents counts in each replicate; `first` is the row of the first of them."""
    return np.random.default_rng([seed, first]).poisson(1.0, shape).astype(np.float64)


def _middle(replicates: Values) -> Interval:
    low, high = np.quantile(replicates, (0.025, 0.975))
    return Interval(float(low), float(high))
