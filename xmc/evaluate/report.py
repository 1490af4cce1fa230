"""All metrics of one set of predictions, looked up by name: to print, to store and to choose the best model by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.errors import XMCError
from xmc.evaluate import metrics
from xmc.evaluate.propensity import inverse_propensity
from xmc.evaluate.terms import BINS, BY_DOCUMENT, CSR, Labels, Values, blocks, families, ratio, ratio_of_sums
from xmc.spelling import did_you_mean

FAMILIES = (
    *("P", "R", "F1", "nDCG", "PSP", "PSnDCG", "micro-F1", "macro-F1", "coverage"),
    *(f"{name}-{family}" for family in "PR" for name in BINS),
)
DEFAULT_KS = (1, 3, 5)


@dataclass(frozen=True, slots=True)
class Report:
    """Metrics by name, such as `P@1`, `nDCG@5` or `tail-R@3`, each from 0 to 1 and larger is better.

    ks: the cut-offs. A, B: the propensity model's. documents, unlabelled: all that were evaluated, and those of them
    without a true label. labels: L. bin_labels: how many of them are head, torso and tail.
    """

    metrics: Mapping[str, float]
    ks: tuple[int, ...]
    documents: int
    unlabelled: int
    labels: int
    bin_labels: Mapping[str, int]
    A: float
    B: float

    def __getitem__(self, name: str) -> float:
        """The value of a metric. Raises XMCError, with the nearest name, where there is none of that name."""
        check_metric_name(name, self.ks)
        return self.metrics[name]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self) | {"ks": list(self.ks)}

    def table(self) -> str:
        """The metrics in percent, a family a line and a cut-off a column."""
        width = max(map(len, FAMILIES))
        lines = [" " * width + "".join(f"{f'@{k}':>8}" for k in self.ks)]
        for family in FAMILIES:
            values = (100 * self.metrics[f"{family}@{k}"] for k in self.ks)
            lines.append(f"{family:<{width}}" + "".join(f"{value:8.2f}" for value in values))
        bins = ", ".join(f"{count:,} {name}" for name, count in self.bin_labels.items())
        lines.append(f"{self.documents:,} documents ({self.unlabelled:,} without labels)")
        lines.append(f"{self.labels:,} labels ({bins})")
        return "\n".join(lines)


def metric_names(ks: Sequence[int] = DEFAULT_KS) -> tuple[str, ...]:
    """The names under which a report at these cut-offs keeps its metrics."""
    return tuple(f"{family}@{k}" for family in FAMILIES for k in ks)


def check_metric_name(name: str, ks: Sequence[int] = DEFAULT_KS) -> None:
    """Raise XMCError, with the nearest name, unless a report at these cut-offs has a metric of this name."""
    names = metric_names(ks)
    if name in names:
        return
    raise XMCError(
        f"unknown metric {name!r}: {did_you_mean(name, names, cutoff=0.0)} "
        f"Expected one of {', '.join(FAMILIES)}, followed by @ and one of {', '.join(map(str, ks))}"
    )


def evaluate(
    topk_labels: Labels,
    truth: CSR,
    *,
    train_counts: NDArray[np.integer],
    num_train: int,
    ks: Sequence[int] = DEFAULT_KS,
    A: float = 0.55,
    B: float = 1.5,
    filter: NDArray[np.integer] | None = None,
) -> Report:
    """Evaluate ranked lists [N, >= max(ks)] (see `ranked_labels`) against the true labels, CSR [N, L].

    train_counts: integers [L], the training documents of each label. num_train: all training documents. ks: ascending
    cut-offs. A, B: see `inverse_propensity`. filter: (document, label) pairs [M, 2] to leave out, see `leave_out`.
    Raises ValueError, naming the argument, where the arguments do not belong together.
    """
    if not ks or min(ks) < 1 or list(ks) != sorted(set(ks)):
        raise ValueError(f"ks: expected ascending cut-offs from 1, got {list(ks)}")
    if filter is not None:
        topk_labels, truth = metrics.leave_out(topk_labels, truth, filter)
    bins = metrics.frequency_bins(train_counts)
    weights = inverse_propensity(train_counts, num_train, A, B)
    values = dict(_families(topk_labels, truth, weights, bins, max(ks)))
    return Report(
        metrics={f"{family}@{k}": float(values[family][k - 1]) for family in FAMILIES for k in ks},
        ks=tuple(ks),
        documents=len(topk_labels),
        unlabelled=int(np.count_nonzero(truth.astype(bool).sum(axis=1) == 0)),
        labels=truth.shape[1],
        bin_labels=dict(zip(BINS, np.bincount(bins, minlength=len(BINS)).tolist(), strict=True)),
        A=A,
        B=B,
    )


def by_document(topk_labels: Labels, truth: CSR, ks: Sequence[int] = DEFAULT_KS) -> dict[str, Values]:
    """P, R, F1 and nDCG of each document, float64 [N], by name (`P@1`); their means are those of `evaluate`."""
    truth = metrics.checked(topk_labels, truth, max(ks))
    values: dict[str, Values] = {}
    for family, of in BY_DOCUMENT.items():
        parts = [ratio(*of(block)) for block in blocks(topk_labels, truth, max(ks))]
        values |= {f"{family}@{k}": np.concatenate([part[:, k - 1] for part in parts]) for k in ks}
    return values


def _families(
    labels: Labels, truth: CSR, weights: Values, bins: NDArray[np.int64], k: int
) -> Iterator[tuple[str, Values]]:
    truth = metrics.checked(labels, truth, k, inverse_propensity=weights)
    for name, terms in families(weights, bins).items():
        yield name, ratio_of_sums(terms, labels, truth, k)
    yield "macro-F1", metrics.f1_at_k(labels, truth, k, "macro")
    yield "coverage", metrics.coverage_at_k(labels, truth, k)
