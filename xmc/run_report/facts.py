"""What a report tells of a run, gathered before anything is drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xmc.data.corpus import Corpus, Split
from xmc.evaluate import (
    Bootstrap,
    Confusion,
    Octave,
    ReliabilityBin,
    Report,
    best_and_worst,
    by_frequency,
    confusions,
    evaluate,
    leave_out,
    reliability,
    resample,
)
from xmc.evaluate.terms import CSR, Labels
from xmc.run_report.connections import Connections
from xmc.run_report.folder import History
from xmc.types import TopK

CONFUSIONS = 15
EXCERPT = 600  # characters of a text
TRUE_LABELS = 20  # of an example


@dataclass(frozen=True, slots=True)
class Missing:
    """A part that cannot be shown, and why; a sentence for the reader."""

    reason: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One predicted label of an example. probability: as the model gives it."""

    name: str
    probability: float
    right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A document with what it is about and what the model says. more: true labels that `truth` leaves out."""

    id: str
    text: str
    truth: tuple[str, ...]
    more: int
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A model on one split. documents: hash of the split; equal hashes can be compared document by document.

    reliability: of a calibrated model, how its probabilities agree with what is true. above: how many of its labels
    others imply.
    """

    split: str
    documents: str
    report: Report
    bootstrap: Bootstrap
    octaves: list[Octave]
    confusions: list[Confusion]
    best: list[Example]
    worst: list[Example]
    label_names: Mapping[int, str]
    reliability: list[ReliabilityBin] | None
    above: int = 0


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run. config: values by dotted key. recorded: metrics by split, as the run folder has them, of other splits.

    sizes: bytes of the saved model's files, by part.
    """

    name: str
    config: Mapping[str, str]
    history: History
    recorded: Mapping[str, Mapping[str, float]]
    measured: Measured | Missing
    connections: Connections | Missing
    sizes: Mapping[str, int]


def measure_split(
    ranked: TopK,
    probabilities: Tensor,
    corpus: Corpus,
    split: str,
    *,
    ks: Sequence[int],
    A: float,
    B: float,
    replicates: int,
    seed: int,
    examples: int,
    calibrated: bool,
) -> Measured:
    """Everything the report tells of predictions on a split.

    ranked: lists of max(ks) labels, without those that the split's filter leaves out. probabilities: of its scores.
    """
    documents, counts, k = corpus.split(split), corpus.label_counts("train"), max(ks)
    labels: Labels = ranked.labels.numpy()
    truth: CSR = documents.labels
    if (left_out := documents.filter_pairs) is not None:
        labels, truth = leave_out(labels, truth, left_out)
    num_train = len(corpus.split("train"))
    best, worst = best_and_worst(labels, ranked.scores.numpy(), truth, k, examples)
    pairs = confusions(labels, truth, k, CONFUSIONS)
    shown = list(_examples(corpus.label_names, documents, truth, labels, probabilities, best + worst))
    return Measured(
        split=split,
        documents=documents.fingerprint,
        report=evaluate(labels, truth, train_counts=counts, num_train=num_train, ks=ks, A=A, B=B),
        bootstrap=resample(
            *(labels, truth),
            train_counts=counts,
            num_train=num_train,
            ks=ks,
            A=A,
            B=B,
            replicates=replicates,
            seed=seed,
        ),
        octaves=by_frequency(labels, truth, counts, k),
        confusions=pairs,
        best=shown[: len(best)],
        worst=shown[len(best) :],
        reliability=reliability_of(labels, probabilities.numpy(), truth) if calibrated else None,
        label_names={label: corpus.label_names[label] for pair in pairs for label in (pair.true, pair.predicted)},
        above=len(set().union(*corpus.parents.values()).intersection(corpus.label_ids)) if corpus.parents else 0,
    )


def reliability_of(labels: Labels, probabilities: NDArray[np.float64], truth: CSR) -> list[ReliabilityBin]:
    """Of the labels that are listed, [N, k]; -1 is none."""
    there = labels >= 0
    rows, _ = np.nonzero(there)
    hits = np.asarray(truth[rows, labels[there]]).ravel() > 0
    return reliability(probabilities[there].astype(np.float64), hits)


def _examples(
    names: Sequence[str], documents: Split, truth: CSR, labels: Labels, probabilities: Tensor, rows: Sequence[int]
) -> Iterator[Example]:
    for row in rows:
        true = truth[[row]].indices.tolist()
        ranked = zip(labels[row].tolist(), probabilities[row].tolist(), strict=True)
        yield Example(
            id=documents.ids[row],
            text=_excerpt(documents.texts[row]),
            truth=tuple(names[label] for label in true[:TRUE_LABELS]),
            more=max(0, len(true) - TRUE_LABELS),
            suggestions=tuple(Suggestion(names[label], p, label in true) for label, p in ranked if label >= 0),
        )


def _excerpt(text: str) -> str:
    start = " ".join(text[:EXCERPT].split())
    return start if len(text) <= EXCERPT else f"{start.rpartition(' ')[0] or start} …"
