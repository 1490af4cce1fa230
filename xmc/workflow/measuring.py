"""What a model is worth on a split."""

from collections.abc import Iterator, Sequence

import numpy as np

from xmc.config import Metrics
from xmc.data.batches import Batches
from xmc.data.corpus import Corpus, Split
from xmc.data.scores import read_scores
from xmc.distributed import ALONE, Processes
from xmc.errors import XMCError
from xmc.evaluate import Report, by_document, evaluate, leave_out
from xmc.evaluate.terms import CSR, Labels
from xmc.model import DEPTH, Blend, ScoreFiles, XMCModel
from xmc.types import TopK
from xmc.workflow.predicting import most_left_out, rank


def measure(
    model: XMCModel, batches: Batches, corpus: Corpus, split: str, metrics: Metrics, processes: Processes = ALONE
) -> Report:
    """Every metric of a model on a split, without the pairs that the split's filter leaves out.

    processes: as for `rank`.
    """
    top = rank(model, batches.by_length(), max(metrics.ks), corpus.split(split).filter, processes)
    return report_of(top, corpus, split, metrics)


def report_of(top: TopK, corpus: Corpus, split: str, metrics: Metrics) -> Report:
    documents = corpus.split(split)
    return evaluate(
        top.labels.numpy(),
        documents.labels,
        train_counts=corpus.label_counts("train"),
        num_train=len(corpus.split("train")),
        ks=metrics.ks,
        A=metrics.propensity_a,
        B=metrics.propensity_b,
        filter=documents.filter_pairs,
    )


def figures_of_documents(top: TopK, documents: Split, ks: Sequence[int]) -> Iterator[dict[str, str | int | float]]:
    """Of each document: its id, how many labels it truly has, and its P, R, F1 and nDCG, by name (`P@1`)."""
    labels: Labels = top.labels.numpy()
    truth: CSR = documents.labels
    if (pairs := documents.filter_pairs) is not None:
        labels, truth = leave_out(labels, truth, pairs)
    figures = by_document(labels, truth, ks)
    for identifier, true, *values in zip(documents.ids, np.diff(truth.indptr).tolist(), *figures.values(), strict=True):
        yield {
            "id": identifier,
            "labels": true,
            **{n: round(float(v), 6) for n, v in zip(figures, values, strict=True)},
        }


def scores_of(blend: Blend, documents: Split, name: str, k: int) -> dict[str, TopK]:
    """What other tools have ranked for a blend, of the documents of that split."""
    depth = max(k, DEPTH) + most_left_out(documents.filter)
    given = {}
    for member, of_tool in ((m.name, m.ranker) for m in blend.members if isinstance(m.ranker, ScoreFiles)):
        if name not in of_tool.files:
            raise XMCError(
                f"the blend has no scores of {member} for {name}; blend anew with scores.{member}.{name}=..."
            )
        given[member] = of_tool.scaled(read_scores(of_tool.files[name], documents.ids, blend.label_ids, depth))
    return given
