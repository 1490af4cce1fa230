"""The file of a saved model that has the ids and names of its labels."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.json import ParseOptions, ReadOptions, read_json

from xmc import storage
from xmc.errors import XMCError, said
from xmc.strings import Strings

_LONGEST_LINE = 1 << 24  # in bytes


def write_labels(path: Path, ids: Iterable[str], names: Iterable[str]) -> None:
    """What `read_labels` reads."""
    with storage.whole_file(path) as out:
        for label, name in zip(ids, names, strict=True):
            out.write(json.dumps({"id": label, "name": name}, ensure_ascii=False) + "\n")


def read_labels(path: Path, expected: int | None) -> tuple[Strings, Strings]:
    """Ids and names. expected: how many; None: nothing else tells.

    Raises:
        XMCError: there are more or fewer than expected, one is missing or empty, or an id is there twice.
    """
    schema = pa.schema([("id", pa.string()), ("name", pa.string())])
    options = ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")  # read, one nested deep crashes
    try:
        table = read_json(path, ReadOptions(block_size=_LONGEST_LINE), options)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise storage.unreadable(path, said(error)) from None
    ids, names = table["id"], table["name"]
    expected = table.num_rows if expected is None else expected
    if table.num_rows != expected:
        wrong = f"has {table.num_rows} labels, the classifier {expected}"
    elif ids.null_count or names.null_count or not pc.min(pc.binary_length(ids)).as_py():
        wrong = "has a label without an id or a name"
    elif len(pc.unique(ids)) < expected:
        wrong = f"has the label {_twice(ids)!r:.80} twice"
    else:
        return Strings(ids), Strings(names)
    raise XMCError(f"{path} {wrong}; copy the model again, or save it anew")


def _twice(values: pa.ChunkedArray) -> str:
    counts = pc.value_counts(values)
    first: str = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py()
    return first
