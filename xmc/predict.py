"""Prediction: ranked labels of a split, and from file to file, JSON Lines in, JSON Lines out."""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import torch
from tqdm import tqdm

from xmc.model import XMCModel
from xmc.types import Batch, TopK


def rank(model: XMCModel, batches: Iterable[Batch], k: int) -> TopK:
    """The k best labels of every document of the batches, on the CPU, in the order of `Batch.rows`."""
    model.eval()
    parts, rows = [], []
    for batch in batches:
        rows.append(batch.rows)
        batch = batch.to(model.device)
        top = model.topk(batch.input_ids, batch.attention_mask, k)
        parts.append(TopK(top.scores.cpu(), top.labels.cpu()))
    ranked, order = TopK.cat(parts), torch.cat(rows).argsort()
    return TopK(ranked.scores[order], ranked.labels[order])


def predict_documents(
    model: XMCModel, documents: Iterable[tuple[str, str]], *, k: int, batch_size: int
) -> Iterator[dict[str, object]]:
    """One record a document, in order: its id and its k best labels with names and probabilities.

    documents: (id, text) pairs; only one batch of them is held at a time.
    """
    stream = iter(documents)
    while batch := list(islice(stream, batch_size)):
        predictions = model.predict([text for _, text in batch], k, batch_size)
        for (identifier, _), ranked in zip(batch, predictions, strict=True):
            labels = [{"label": p.label, "name": p.name, "score": round(p.score, 6)} for p in ranked]
            yield {"id": identifier, "labels": labels}


def write_predictions(records: Iterable[dict[str, object]], output: str) -> int:
    """Write records to a file or, for `-`, to standard output; returns how many. A file appears only once whole."""
    count = 0
    with open_output(output) as out:
        for record in tqdm(records, desc="predict", unit=" documents", disable=None):
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count


@contextmanager
def open_output(output: str) -> Iterator[IO[str]]:
    """A text file that is renamed into place once written without an error, or standard output for `-`."""
    if output == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as out:
            yield out
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
