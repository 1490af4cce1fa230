"""Prediction: ranked labels of a split, and from file to file."""

import gzip
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Literal, TypeVar

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.special import expit
from tqdm import tqdm

from xmc.errors import XMCError
from xmc.model import Blend, Prediction, Threshold, XMCModel
from xmc.storage import whole_file
from xmc.types import Batch, TopK

SHOWN = 10  # words of each label
T = TypeVar("T")
Ranked = tuple[str, list[Prediction]]
"""Id and suggested labels of a document, best first."""


def rank(model: XMCModel, batches: Iterable[Batch], k: int, filter: csr_matrix | None = None) -> TopK:
    """The k best labels of every document of the batches, on the CPU, in the order of `Batch.rows`.

    filter: CSR [N, L], labels that a document's list leaves out: the others move up.
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
    ranked, order = TopK.cat(parts), torch.cat(rows).argsort()
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
    return 0 if filter is None else int(np.diff(filter.indptr).max())


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
    documents: Iterable[tuple[str, str] | XMCError],
    *,
    k: int | None,
    batch_size: int,
    threshold: Threshold = None,
    left_out: Mapping[int, Sequence[int]] | None = None,
    ready: Callable[[], bool] | None = None,
    explain: bool = False,
) -> Iterator[Ranked | XMCError]:
    """The id and the k best labels of each document, in order; see `XMCModel.predict`.

    documents: (id, text) pairs, and in the place of a document that cannot be used its error, which stays there; only
    one batch of them is held at a time. left_out: places of labels that the list of a document, named by its place,
    leaves out: the others move up. ready: whether the next document is there; a batch does not wait for those that are
    still to come. None: they all are there. explain: each label with the words that add most to it.
    """
    left_out = left_out or {}
    most = min(model.default_k(threshold) if k is None else k, len(model.label_ids))
    for batch in _batches(enumerate(documents), batch_size, ready):
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


def _batches(stream: Iterator[T], size: int, ready: Callable[[], bool] | None) -> Iterator[list[T]]:
    batch: list[T] = []
    for one in stream:
        batch.append(one)
        if len(batch) == size or not (ready is None or ready()):
            yield batch
            batch = []
    if batch:
        yield batch


def write_predictions(
    ranked: Iterable[Ranked | XMCError],
    output: str,
    format: Literal["jsonl", "scores", "annif"],
    label_ids: Sequence[str],
) -> int:
    """Write predictions to a file or, for `-`, to standard output; returns how many. A file appears only once whole.

    A document that could not be used has an empty row among scores, and none elsewhere. A file whose name ends in .gz
    is compressed.

    jsonl: a JSON object a document, with the names and probabilities of its labels, and their words where there are
    such. scores: the sparse text of the
    Extreme Classification Repository, `rows columns` and then `label:score ...` a row, labels by their place in
    `label_ids`, ascending; a score is the sigmoid of the logit, so that it is positive and ranks as the model does
    (of a calibrated model, its probability).
    annif: the JSON lines of `annif index --no-include-doc`.
    """
    ranked = tqdm(ranked, desc="predict", unit=" documents", disable=None)
    with _opened(output) as out:
        match format:
            case "jsonl":
                return _write_lines(out, ranked, _json_line)
            case "annif":
                return _write_lines(out, ranked, _annif_line)
            case "scores":
                beside = Path(output).parent if Path(output).is_file() or not Path(output).exists() else None
                return _write_scores(out, ranked, label_ids, None if output == "-" else beside)


def _write_lines(out: IO[str], ranked: Iterable[Ranked | XMCError], line: Callable[[Ranked], str]) -> int:
    count = 0
    for document in ranked:
        if not isinstance(document, XMCError):
            out.write(line(document) + "\n")
            count += 1
            if out is sys.stdout:  # where somebody may wait for each line
                out.flush()
    return count


def _json_line(document: Ranked) -> str:
    identifier, labels = document
    values = [{"label": p.label, "name": p.name, "score": round(p.score, 6), **_reasons(p)} for p in labels]
    return json.dumps({"id": identifier, "labels": values}, ensure_ascii=False)


def _reasons(prediction: Prediction) -> dict[str, list[dict[str, str | float]]]:
    if prediction.words is None:
        return {}
    return {"words": [{"word": word, "weight": round(weight, 4)} for word, weight in prediction.words]}


def _annif_line(document: Ranked) -> str:
    identifier, labels = document
    results = [{"uri": p.label, "label": p.name, "notation": None, "score": round(p.score, 6)} for p in labels]
    return json.dumps({"document_id": identifier, "results": results}, ensure_ascii=False)


def _write_scores(
    out: IO[str], ranked: Iterable[Ranked | XMCError], label_ids: Sequence[str], folder: Path | None
) -> int:
    """The number of rows comes first and is known last: the rows wait in a file without a name in `folder`."""
    columns = {label: column for column, label in enumerate(label_ids)}

    def row(document: Ranked) -> str:
        entries = sorted((columns[p.label], p.logit) for p in document[1])
        return " ".join(f"{column}:{expit(logit):.12g}" for column, logit in entries)

    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder) as rows:
        count = _write_lines(rows, (("", []) if isinstance(one, XMCError) else one for one in ranked), row)
        rows.seek(0)
        out.write(f"{count} {len(label_ids)}\n")
        shutil.copyfileobj(rows, out)
    return count


@contextmanager
def _opened(output: str) -> Iterator[IO[str]]:
    """The output to write text to: standard output for `-`, compressed where it is named `.gz`."""
    if output == "-":
        yield sys.stdout
        sys.stdout.flush()
    elif output.endswith(".gz"):
        with (
            whole_file(output, "wb") as out,
            gzip.GzipFile("", "wb", fileobj=out, mtime=0) as packed,
            io.TextIOWrapper(packed, "utf-8") as text,
        ):
            yield text
    else:
        with whole_file(output) as out:
            yield out
