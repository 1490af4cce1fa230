"""Documents of a split on disk: read once into an Arrow cache, memory-mapped from then on."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xmc.data.assemble import RawSplit
from xmc.data.cache import arrow_rows, cached
from xmc.data.corpus import ArrowTexts
from xmc.data.files import changed
from xmc.data.formats import Document, OnError
from xmc.errors import XMCError
from xmc.storage import digest

log = logging.getLogger(__name__)

_COLUMNS = ("line", "id", "text", "labels", "error")
_FORMAT = 3  # raise when readers come to read the same file differently
_CHUNK = 1000  # documents


def stored(
    read: Callable[..., Iterable[Document | XMCError]],
    files: tuple[Path, ...],
    cache: Path,
    *,
    label_type: Literal["string", "int32"] = "string",
    on_error: OnError = "error",
    folder: Path | None = None,
    name: str | None = None,
    **arguments: Any,
) -> RawSplit:
    """The documents of `read(files, **arguments)`, from the cache where contents, places and arguments are the same.

    A reader raises what makes the rest of a file unreadable. What concerns a single document it yields in its place:
    that is raised too or, where `on_error` is "skip", the document is left out; how many are is logged, whether read or
    taken from the cache. Empty texts stay, and the counts of published sets with them, and are logged likewise; nothing
    but empty texts is an error. Messages place a document in the first of the files; there are none where `read` makes
    the documents up. folder: each document is a file of it, and its `line` the place of that file among `files`. name:
    what messages call the files.

    Raises XMCError for files that change while they are read.
    """
    source = name or (str(folder or files[0]) if files else "generated")
    contents = [digest(path) for path in files]
    skip = on_error == "skip"
    how = (read.__module__, read.__qualname__, sorted(arguments.items()), label_type, skip)
    recipe = (_FORMAT, how, [str(path.absolute()) for path in files], contents)
    hashed = hashlib.blake2b(repr(recipe).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def make(folder: Path) -> None:
        _write(folder / "documents.arrow", _rows(read(files, **arguments), skip, source), label_type)
        for path, content in zip(files, contents, strict=True):
            if digest(path) != content:
                raise changed(path)

    dataset = cached(cache / f"documents-{hashed}", make, arrow_rows)
    kept = _kept(dataset.data.column("error"), source)
    columns = [dataset.data.column(name) for name in _COLUMNS[:-1]]
    if not kept.all():
        columns = [column.filter(pa.array(kept)) for column in columns]
        dataset = dataset.select(np.flatnonzero(kept))
    lines, ids, texts, labels = columns

    def where(row: int) -> str:
        return str(files[lines[row].as_py()]) if folder else f"{source}:{lines[row]}"

    split = RawSplit(ids.to_pylist(), ArrowTexts(dataset), labels, where, kept)
    _report_empty(split, texts)
    return split


def _rows(documents: Iterable[Document | XMCError], skip: bool, source: str) -> Iterator[dict[str, Any]]:
    document = None
    for document in documents:
        if not isinstance(document, XMCError):
            yield dict(zip(_COLUMNS, (*document, None), strict=True))
        elif skip:
            yield dict.fromkeys(_COLUMNS) | {"error": str(document)}
        else:
            raise document
    if document is None:
        raise XMCError(f"{source}: no documents; fill the file or remove it")


def _write(path: Path, rows: Iterator[dict[str, Any]], label_type: str) -> None:
    types = (pa.int64(), pa.string(), pa.string(), pa.list_(pa.type_for_alias(label_type)), pa.string())
    schema = pa.schema(dict(zip(_COLUMNS, types, strict=True)))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while chunk := list(islice(rows, _CHUNK)):
            writer.write_batch(pa.RecordBatch.from_pylist(chunk, schema))


def _kept(errors: pa.ChunkedArray, source: str) -> NDArray[np.bool_]:
    """Which documents can be used, once it is told how many cannot."""
    kept: NDArray[np.bool_] = errors.is_null().to_numpy()
    if not kept.any():
        raise XMCError(f"{source}: none of {len(kept)} documents can be used; the first: {errors[0]}")
    if not kept.all():
        left = np.flatnonzero(~kept)
        log.warning("%s: skipped %d of %d documents; the first: %s", source, len(left), len(kept), errors[left[0]])
    return kept


def _report_empty(split: RawSplit, texts: pa.ChunkedArray) -> None:
    empty = np.flatnonzero(pc.equal(texts, "").to_numpy())
    if len(empty) == len(texts):
        raise XMCError(f"{split.where(0)}: empty text, like all {len(texts)} documents; is it the right file?")
    if len(empty):
        log.warning("%s: empty text, kept (%d of %d documents)", split.where(empty[0]), len(empty), len(texts))
