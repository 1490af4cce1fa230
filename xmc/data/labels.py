"""Label vocabularies, names by label id in the order of the file beside a data set; and labels by their place there."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from xmc.data.files import text_lines
from xmc.data.lines import json_object
from xmc.errors import XMCError

MOST_LABELS = 100_000_000
"""Of a vocabulary that is told by its size alone: a mistaken number must not take all memory."""
URI = re.compile(r"<\S*>|[A-Za-z][A-Za-z0-9+.-]*:\S+")


def read_labels_tsv(path: Path) -> dict[str, str]:
    """Names by label id, in the order of a file with the header `id<TAB>name` and a label a line."""

    def labels() -> Iterator[tuple[int, str, str]]:
        for number, line in text_lines(path):
            label, tab, name = line.partition("\t")
            if number == 1:
                if (label, name) != ("id", "name"):
                    raise XMCError(f"{path}:1: expected the header `id<TAB>name`, found {line!r:.60}")
            elif line:
                if not label or not tab:
                    raise XMCError(f"{path}:{number}: expected `id<TAB>name`, found {line!r:.60}")
                yield number, label, name

    return named_labels(path, labels(), "the header `id<TAB>name` and a label a line")


def read_labels_json(path: Path) -> dict[str, str]:
    """Names by label id of a file with a JSON object a line, the i-th label in line i.

    The id is the field `uid`, or i (from 0) where the first line has no such field; the name is `title`.
    """

    def labels() -> Iterator[tuple[int, str, str]]:
        has_uid = False
        for number, line in text_lines(path):
            record = json_object(line, f"{path}:{number}")
            if number == 1:
                has_uid = "uid" in record
            label, name = record.get("uid") if has_uid else str(number - 1), record.get("title") or ""
            if not isinstance(label, str) or not label or not isinstance(name, str):
                raise XMCError(f"{path}:{number}: expected texts as 'uid' and 'title', found {label!r}, {name!r:.40}")
            yield number, label, name

    return named_labels(path, labels(), "one JSON object a line")


def check_places(places: Sequence[int], count: int, where: str, field: str | None = None) -> None:
    """Raise XMCError for a place that stands twice, or is none of `count`. field: what holds them, for the message."""
    of_field = "" if field is None else f" in {field!r}"
    if len(set(places)) < len(places):
        twice = next(place for place, times in Counter(places).items() if times > 1)
        raise XMCError(f"{where}: label index {twice} stands twice{of_field}; expected each label once")
    if places and not 0 <= min(places) <= max(places) < count:
        outside = next(place for place in places if not 0 <= place < count)
        raise XMCError(
            f"{where}: label index {outside}{of_field} is out of range; there are {count} labels, 0 to {count - 1}"
        )


def bare_uri(uri: str) -> str:
    """A URI without the angle brackets that may be around it."""
    return uri[1:-1] if uri.startswith("<") and uri.endswith(">") else uri


def named_labels(path: Path, labels: Iterable[tuple[int, str, str]], expected: str) -> dict[str, str]:
    """From line, id and name of each label; one without a name is called by its id."""
    names: dict[str, str] = {}
    first_line: dict[str, int] = {}
    for number, label, name in labels:
        if label in names:
            raise XMCError(f"{path}:{number}: label {label!r} stands in line {first_line[label]} already; remove one")
        names[label], first_line[label] = name or label, number
    if not names:
        raise XMCError(f"{path}: no labels; expected {expected}, or no such file")
    return names
