"""Prediction: ranked labels of a split, and of documents as they come."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xmc.distributed import ALONE, Processes
from xmc.errors import XMCError
from xmc.model import Blend, Prediction, Threshold, XMCModel
from xmc.types import Batch, TopK

SHOWN = 10  # words of each label
T = TypeVar("T")
Ranked = tuple[str, list[Prediction]]
"""Id and suggested labels of a document, best first."""


def rank(
    model: XMCModel,
    batches: Iterable[Batch],
    k: int,
    filter: csr_matrix | None = None,
    processes: Processes = ALONE,
) -> TopK:
    """The k best labels of every document of the batches, on the CPU, in the order of `Batch.rows`.

    filter: CSR [N, L], labels that a document's list leaves out: the others move up. processes: that have a part of
    each batch; all get the lists of all.
    """
    model.eval()
    parts, rows = [], []
    for batch in batches:
        rows.append(batch.rows)
        left_out = None if filter is None else filter[batch.rows.numpy()]
        batch = batch.to(model.device)
        top = model.topk(batch.input_ids, batch.attention_mask, k + most_left_out(left_out), batch.values)
        top = TopK(top.scores.cpu(), top.labels.cpu())
        parts.append(top if left_out is None else without(top, left_out, k))
    own = TopK.cat(parts)
    scores, labels, places = processes.gather(own.scores, own.labels, torch.cat(rows))
    ranked, order = TopK(scores, labels), places.argsort()
    return TopK(ranked.scores[order], ranked.labels[order])


def rank_by_blend(
    blend: Blend,
    texts: Sequence[str],
    k: int,
    filter: csr_matrix | None = None,
    given: Mapping[str, TopK] | None = None,
    batch_size: int = 256,
) -> TopK:
    """The k best labels of every text, in order, a batch at a time.

    filter: as for `rank`. given: rankings of all these texts, as for `Blend.rank`.
    """
    parts = []
    for start in range(0, len(texts), batch_size):
        rows = slice(start, start + batch_size)
        left_out = None if filter is None else filter[rows]
        known = {name: TopK(top.scores[rows], top.labels[rows]) for name, top in (given or {}).items()}
        top = blend.rank(texts[rows], k + most_left_out(left_out), known, batch_size)
        parts.append(top if left_out is None else without(top, left_out, k))
    return TopK.cat(parts)


def most_left_out(filter: csr_matrix | None) -> int:
    """Labels that a document's list leaves out, at most."""
    return 0 if filter is None else int(np.diff(filter.indptr).max(initial=0))


def without(top: TopK, left_out: csr_matrix, k: int) -> TopK:
    """The first k of each list without the labels that CSR [B, L] holds."""
    documents, labels = map(torch.from_numpy, left_out.nonzero())
    width = left_out.shape[1] + 1  # one more, for the -1 of a missing label
    of_list = torch.arange(len(top))[:, None] * width + top.labels
    drop = torch.isin(of_list, documents.long() * width + labels)
    order = drop.to(torch.int8).argsort(dim=1, stable=True)[:, :k]
    scores, kept = top.scores.masked_fill(drop, -torch.inf), top.labels.masked_fill(drop, -1)
    return TopK(scores.gather(1, order), kept.gather(1, order))


def predict_documents(
    model: XMCModel | Blend,
    documents: Iterable[tuple[int, tuple[str, str] | XMCError]],
    *,
    k: int | None,
    batch_size: int,
    threshold: Threshold = None,
    left_out: Mapping[int, Sequence[int]] | None = None,
    ready: Callable[[], bool] | None = None,
    explain: bool = False,
) -> Iterator[Ranked | XMCError]:
    """The id and the k best labels of each document, in order; see `XMCModel.predict`.

    documents: each with its place, from 0: an (id, text) pair or, of one that cannot be used, its error, which stays
    there; only one batch of them is held at a time. left_out: places of labels that the list of a document, named by
    its place, leaves out: the others move up. ready: whether the next document is there; a batch does not wait for
    those that are still to come. None: they all are there. explain: each label with the words that add most to it.
    """
    left_out = left_out or {}
    most = min(model.default_k(threshold) if k is None else k, len(model.label_ids))
    for batch in in_batches(iter(documents), batch_size, ready):
        usable = [(place, document) for place, document in batch if not isinstance(document, XMCError)]
        hidden = [{model.label_ids[label] for label in left_out.get(place, ())} for place, _ in usable]
        texts = [text for _, (_, text) in usable]
        more = max(map(len, hidden), default=0)
        predictions = model.predict(texts, most + more, batch_size, threshold) if texts else []
        lists = zip(predictions, hidden, strict=True)
        shown = ([p for p in labels if p.label not in names][:most] for labels, names in lists)
        ranked = (
            (identifier, _explained(model, text, labels) if explain else labels)
            for (_, (identifier, text)), labels in zip(usable, shown, strict=True)
        )
        for _, document in batch:
            yield document if isinstance(document, XMCError) else next(ranked)


def _explained(model: XMCModel | Blend, text: str, predictions: Sequence[Prediction]) -> list[Prediction]:
    reasons = model.explain(text, [p.label for p in predictions])
    return [replace(p, words=reason.words(SHOWN)) for p, reason in zip(predictions, reasons, strict=True)]


def of_shard(documents: Iterable[T], shard: str, size: int) -> Iterator[tuple[int, T]]:
    """The documents of one shard, each with its place among all, from 0.

    shard: `i/n`, of every n batches the i-th. size: of a batch. So a document is in the same batch as without shards,
    and its predictions are the same to the bit.
    """
    number, shards = map(int, shard.split("/"))
    return ((place, one) for place, one in enumerate(documents) if place // size % shards == number - 1)


def in_batches(stream: Iterator[T], size: int, ready: Callable[[], bool] | None = None) -> Iterator[list[T]]:
    """So many at a time; fewer where the next is not `ready`, and at the end."""
    batch: list[T] = []
    for one in stream:
        batch.append(one)
        if len(batch) == size or not (ready is None or ready()):
            yield batch
            batch = []
    if batch:
        yield batch
