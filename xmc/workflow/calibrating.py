"""Calibrating a trained model on a dev split: probabilities that can be trusted, and thresholds on them."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from xmc.data.corpus import Split
from xmc.errors import XMCError
from xmc.evaluate.metrics import Labels, Values, correct, leave_out
from xmc.evaluate.reliability import (
    Hits,
    Scaling,
    expected_calibration_error,
    fit_scaling,
    held_out,
    log_loss,
    unchanged,
)
from xmc.evaluate.thresholds import Assignment, assignment, best_thresholds
from xmc.model import XMCModel
from xmc.model.calibration import Calibration
from xmc.types import TopK

logger = logging.getLogger(__name__)

FOLDS: Final = 5
FEWEST, ENOUGH = 10, 100  # documents, and true labels in their lists: fewer are refused, or taken with a warning
_NAME: Final = 16


@dataclass(frozen=True)
class Lists:
    """Ranked lists of N documents and what is true of them, without what the split's filter leaves out.

    labels: int64 [N, k], -1 where there is no candidate. logits: float64 [N, k]. truth: CSR [N, L].
    """

    labels: Labels
    logits: Values
    truth: csr_matrix

    @classmethod
    def of(cls, top: TopK, documents: Split) -> "Lists":
        labels, truth = top.labels.numpy(), documents.labels
        if (pairs := documents.filter_pairs) is not None:
            truth = csr_matrix(leave_out(labels, truth, pairs)[1])
        return cls(labels, top.scores.double().numpy(), truth)

    @functools.cached_property
    def hits(self) -> NDArray[np.bool_]:
        return correct(self.labels, self.truth)

    @functools.cached_property
    def candidates(self) -> NDArray[np.bool_]:
        return self.labels >= 0

    def probabilities(self, of_logits: Callable[[torch.Tensor], torch.Tensor]) -> Values:
        """Probabilities of the logits, [N, k]."""
        values: Values = of_logits(torch.from_numpy(self.logits)).numpy()
        return values

    def calibration_errors(self, probabilities: Values, ks: Sequence[int]) -> dict[int, float]:
        """ECE at each cut-off: over the pairs of every document with its so many best labels. probabilities: [N, k]."""
        errors = {}
        for k in ks:
            pairs = self.candidates[:, :k]
            errors[k] = expected_calibration_error(probabilities[:, :k][pairs], self.hits[:, :k][pairs])
        return errors

    def assignment(self, calibration: Calibration) -> Assignment:
        """How good the labels are that reach their thresholds among the best that these were chosen from."""
        k = calibration.k
        probabilities = self.probabilities(calibration.probability)[:, :k]
        listed = int(self.labels.max(initial=0)) + 1  # documents may have labels behind these that no model knows
        thresholds = calibration.thresholds(torch.arange(listed)).numpy()
        return assignment(self.labels[:, :k], probabilities, thresholds, self.truth)


@dataclass(frozen=True)
class Decisions:
    """What calibration does on a split. calibration_error: ECE by the name of the probabilities and by cut-off."""

    assignment: Assignment
    calibration_error: dict[str, dict[int, float]]
    documents: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    def table(self) -> str:
        """Calibration errors and the figures of the assigned labels, in percent."""
        lines = [" " * _NAME + "".join(f"{f'ECE@{k}':>8}" for k in next(iter(self.calibration_error.values())))]
        for name, errors in self.calibration_error.items():
            lines.append(f"{name:<{_NAME}}" + "".join(f"{100 * error:8.2f}" for error in errors.values()))
        a = self.assignment
        shares = [("micro-F1", a.micro_f1), ("macro-F1", a.macro_f1), ("precision", a.precision), ("recall", a.recall)]
        values = ", ".join(f"{name} {100 * value:.2f}" for name, value in shares)
        return "\n".join([*lines, f"at the thresholds: {values}, {a.per_document:.2f} labels a document"])


@dataclass(frozen=True)
class Fitted(Decisions):
    """A calibration, and what it does on the documents that it was fitted to.

    Errors and log losses of scaled probabilities are of pairs that the scaling was not fitted to. kept: the name of the
    scaling that was taken. own_thresholds: labels that have one.
    """

    calibration: Calibration
    kept: str
    log_loss: dict[str, float]
    own_thresholds: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without the thresholds of single labels."""
        return asdict(self) | {"calibration": asdict(replace(self.calibration, own=None))}

    def table(self) -> str:
        """Calibration errors and the figures of the assigned labels, in percent, and what was fitted."""
        losses = ", ".join(f"{name} {loss:.4f}" for name, loss in self.log_loss.items())
        own = f"; {self.own_thresholds:,} labels have their own" if self.calibration.own is not None else ""
        return "\n".join(
            [
                super().table(),
                f"log loss: {losses}",
                f"kept: {self.kept}, sigmoid({self.calibration.scale:.4f} * logit + {self.calibration.shift:.4f})",
                f"threshold {self.calibration.threshold:.4f}{own}",
            ]
        )


def decide(lists: Lists, model: XMCModel, ks: Sequence[int]) -> Decisions:
    """What a model's calibration does on other documents than it was fitted to. ks: cut-offs to report ECE at."""
    assert model.calibration is not None
    forms = {"before": model.raw_probability, "calibrated": model.probability}
    errors = {name: lists.calibration_errors(lists.probabilities(form), ks) for name, form in forms.items()}
    return Decisions(lists.assignment(model.calibration), errors, len(lists.labels))


def calibrate(
    model: XMCModel,
    lists: Lists,
    ks: tuple[int, ...],
    *,
    precision: float | None,
    per_label: bool,
    min_positives: int,
) -> Fitted:
    """Fit probabilities and thresholds to the pairs of the lists, each a document and one of its k best labels.

    Of no scaling, one without and one with a shift, that is taken which has the least log loss on documents left out of
    its fit (5 folds). ks: cut-offs to report ECE at, beside k. precision, per_label, min_positives: see
    `choose_thresholds`.

    Raises:
        XMCError: too few documents or true labels in their lists, or no threshold with that precision.
    """
    _check_counts(len(lists.labels), int(lists.hits.sum()))
    pairs = lists.candidates
    logits, hits = lists.logits[pairs], lists.hits[pairs]
    folds = np.nonzero(pairs)[0] % FOLDS
    forms: dict[str, Callable[[Values, Hits], Scaling]] = {
        "scale": functools.partial(fit_scaling, shift=False),
        "scale and shift": functools.partial(fit_scaling, shift=True),
    }
    probabilities = {"before": lists.probabilities(model.raw_probability)[pairs]}
    probabilities |= {name: held_out(logits, hits, folds, fit) for name, fit in forms.items()}
    losses = {name: log_loss(values, hits) for name, values in probabilities.items()}
    if model.loss == "bce":  # what a hinge's logits are worth, no scaling of log-odds tells
        forms = {"before": unchanged} | forms
    kept = min(forms, key=losses.__getitem__)
    scaling = forms[kept](logits, hits)
    k = lists.labels.shape[1]
    threshold, own, chosen = choose_thresholds(scaling, lists, precision, per_label, min_positives)
    calibration = Calibration(
        scaling.scale, scaling.shift, k, threshold, None if own is None else torch.from_numpy(own).float()
    )
    cuts = sorted({cut for cut in ks if cut < k} | {k})
    errors = {name: lists.calibration_errors(_in_lists(values, pairs), cuts) for name, values in probabilities.items()}
    return Fitted(lists.assignment(calibration), errors, len(lists.labels), calibration, kept, losses, chosen)


def _check_counts(documents: int, hits: int) -> None:
    found = f"dev has {documents} documents and {hits} true labels in their lists"
    way_out = "train with a larger data.dev_fraction or a larger dev file"
    if min(documents, hits) < FEWEST:
        raise XMCError(f"{found}; calibration needs at least {FEWEST} of each: {way_out}, or longer")
    if min(documents, hits) < ENOUGH:
        logger.warning(f"{found}; probabilities and thresholds of fewer than {ENOUGH} of each are rough: {way_out}")


def choose_thresholds(
    scaling: Scaling, lists: Lists, precision: float | None, per_label: bool, min_positives: int
) -> tuple[float, Values | None, int]:
    """The threshold of the model, those of its labels [L] if `per_label`, and how many of them are a label's own.

    precision None: the threshold with the largest micro-F1, and for each label with the largest F1; else those that
    assign the most labels of which that share is right. A label with fewer than `min_positives` documents takes the
    model's threshold: thresholds fitted to few documents are too low or too high by chance (Yang, SIGIR 2001, whose
    SCutFBR takes such a label's highest score, or silences it; most labels of a large vocabulary would fall silent).
    One whose F1 is 0 takes it too; one that never reaches the precision is silenced, as in SCutFBR.0.

    Raises:
        XMCError: no threshold of the model has that precision.
    """
    pairs = lists.candidates
    scores, labels, hits = scaling(lists.logits[pairs]), lists.labels[pairs], lists.hits[pairs]
    (threshold,) = best_thresholds(scores, np.zeros_like(labels), hits, np.array([lists.truth.nnz]), precision)
    if np.isnan(threshold):
        raise XMCError(f"precision={precision} is not reached on dev by any threshold; ask for less")
    if not per_label:
        return float(threshold), None, 0
    positives = np.bincount(lists.truth.indices, minlength=lists.truth.shape[1])
    own = best_thresholds(scores, labels, hits, positives, precision)
    if precision is not None:
        own[np.isnan(own)] = np.inf
    chosen = (positives >= min_positives) & ~np.isnan(own)
    return float(threshold), np.where(chosen, own, threshold), int(chosen.sum())


def _in_lists(values: Values, pairs: NDArray[np.bool_]) -> Values:
    """Values of the pairs at their places in the lists, [N, k]."""
    lists = np.zeros(pairs.shape)
    lists[pairs] = values
    return lists
