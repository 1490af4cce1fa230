"""Rankings that other tools have made of the documents of a split."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from xmc.data import files as inputs
from xmc.errors import XMCError
from xmc.storage import parse_json
from xmc.types import TopK
from xmc.values import whole_number

T = TypeVar("T")
_EXPECTED = (
    'expected {"id": ..., "labels": [{"label": ..., "score": ...}]} (xmc predict), {"document_id": ..., "results": '
    '[{"uri": ..., "score": ...}]} (annif index), or [["label", score], ...]'
)


def read_scores(path: str | Path, ids: Sequence[str], label_ids: Sequence[str], k: int) -> TopK:
    """The k best labels of each document by a file of scores, float32 and int64 [N, k]; the tail is 0 and -1.

    A line is a document, in the order of the split: JSON as `xmc predict` or `annif index` writes it, or pairs of a
    label and its score, or the sparse text of the Extreme Classification Repository, `rows columns` and then
    `label:score ...` a row, labels by their place in `label_ids`. Scores are 0 or more, and larger is better.

    ids: of the split's documents. Raises XMCError, naming file and line, for whatever cannot be read, a label that is
    not among `label_ids`, a score that is none, and lines that are not the documents of the split.
    """
    path = Path(path)
    scores, labels = np.zeros((len(ids), k), np.float32), np.full((len(ids), k), -1, np.int64)
    count, known = 0, set(ids)
    for where, id_, row in _rows(path, label_ids):
        if count < len(ids):
            if id_ in known and id_ != ids[count]:  # other tools may call documents otherwise
                raise XMCError(
                    f"{where}: document {id_!r:.80} in the place of {ids[count]!r:.80}; keep the split's order"
                )
            best = nsmallest(k, row, key=lambda entry: (-entry[1], entry[0]))
            labels[count, : len(best)] = [label for label, _ in best]
            scores[count, : len(best)] = [score for _, score in best]
        count += 1
    if count != len(ids):
        raise XMCError(
            f"{path} has {count:,} documents, the split {len(ids):,}; expected a line for each, in the split's order"
        )
    return TopK(torch.from_numpy(scores), torch.from_numpy(labels))


Row = tuple[str, str | None, list[tuple[int, float]]]
"""Where a document stands, its id, if it has one, and its labels, by their places, with their scores."""


def _rows(path: Path, label_ids: Sequence[str]) -> Iterator[Row]:
    lines = ((f"{path}:{number}", line) for number, line in inputs.text_lines(path))
    first = next(lines, None)
    if first is None:
        return
    if first[1].lstrip().startswith(("{", "[")):
        place = {label: column for column, label in enumerate(label_ids)}
        yield from (_json_row(line, where, place.get) for where, line in chain([first], lines) if line.strip())
    else:
        yield from _sparse_rows(first, lines, len(label_ids))


def _json_row(line: str, where: str, place_of: Callable[[str], int | None]) -> Row:
    match parse_json(line, where):
        case {"labels": list(entries), **rest}:
            id_, pairs = rest.get("id"), [_values(entry, "label") for entry in entries]
        case {"results": list(entries), **rest}:
            id_, pairs = rest.get("document_id"), [_values(entry, "uri") for entry in entries]
        case list(entries):
            id_, pairs = None, entries
        case _:
            raise XMCError(f"{where}: {_EXPECTED}, found {line!r:.40}")
    row = []
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise XMCError(f"{where}: {_EXPECTED}, found {line!r:.40}")
        label, score = pair
        if (place := place_of(label)) is None:
            raise XMCError(f"{where}: no label of the model is called {label!r:.80}; leave it out, or check the ids")
        row.append((place, _score(score, label, where)))
    return where, id_ if isinstance(id_, str) else None, _distinct(row, where)


def _values(entry: Any, key: str) -> tuple[Any, Any] | None:
    return (entry.get(key), entry.get("score")) if isinstance(entry, dict) else None


def _sparse_rows(header: tuple[str, str], lines: Iterable[tuple[str, str]], size: int) -> Iterator[Row]:
    where, text = header
    try:
        rows, columns = map(whole_number, text.split())
    except ValueError:
        raise XMCError(f"{where}: {_EXPECTED}, or `rows columns` above sparse text; found {text!r:.40}") from None
    if columns != size:
        raise XMCError(f"{where}: the scores are of {columns:,} labels, the model has {size:,}; are they of this data?")
    count = 0
    for where, line in lines:
        count += 1
        if count > rows:
            raise XMCError(f"{where}: the first line tells {rows:,} rows, and here is one more")
        yield where, None, _distinct([_entry(entry, size, where) for entry in line.split()], where)
    if count < rows:
        raise XMCError(f"{where}: the first line tells {rows:,} rows, and there are {count:,}; is the file complete?")


def _entry(entry: str, size: int, where: str) -> tuple[int, float]:
    label, _, value = entry.partition(":")
    try:
        place, score = whole_number(label), float(value)
    except ValueError:
        raise XMCError(f"{where}: expected `label:score`, a whole number and a number, found {entry!r:.40}") from None
    if not 0 <= place < size:
        raise XMCError(f"{where}: label {place} is out of range; there are {size} labels, 0 to {size - 1}")
    return place, _score(score, label, where)


def _score(score: Any, label: str, where: str) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= float(np.finfo("f4").max):
        raise XMCError(
            f"{where}: label {label!r:.80} has the score {score!r:.40}; expected a finite number from 0 on, such as a "
            "probability: logits become one by 1 / (1 + exp(-logit))"
        )
    return float(score)


def _distinct(row: list[tuple[int, float]], where: str) -> list[tuple[int, float]]:
    if len({label for label, _ in row}) < len(row):
        raise XMCError(f"{where}: a label stands twice; expected each once")
    return row
