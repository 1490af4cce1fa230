"""Documents of a split on disk: read once into an Arrow cache, memory-mapped from then on."""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, Sequence, Value
from datasets.exceptions import DatasetGenerationError
from numpy.typing import NDArray

from xmc.data.assemble import OnError, RawSplit
from xmc.data.corpus import ArrowTexts
from xmc.types import XMCError

log = logging.getLogger(__name__)

_COLUMNS = ("line", "id", "text", "labels", "error")
_FORMAT = 3  # raise when readers come to read the same file differently

Document = tuple[int, str, str, list[str] | list[int]]
"""Line (from 1), id, text and labels of a document: their ids, or their places in the vocabulary."""


def stored(
    read: Callable[..., Iterable[Document | XMCError]],
    files: tuple[Path, ...],
    cache_dir: Path | None,
    *,
    label_type: Literal["string", "int32"] = "string",
    on_error: OnError = "error",
    **arguments: Any,
) -> RawSplit:
    """The documents of `read(files, **arguments)`, from the cache where the files and arguments are the same.

    A reader raises what makes the rest of a file unreadable. What concerns a single document it yields in its place:
    that is raised too or, where `on_error` is "skip", the document is left out; how many are is logged, whether read or
    taken from the cache. Empty texts stay, and the counts of published sets with them, and are logged likewise; nothing
    but empty texts is an error. Messages place a document in the first of the files; there are none where `read` makes
    the documents up. `cache_dir` None is the cache of `datasets`.
    """
    source = str(files[0]) if files else "generated"
    state = tuple((str(path.absolute()), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    kwargs = {
        "read": read,
        "files": files,
        "arguments": tuple(arguments.items()),
        "skip": on_error == "skip",
        "state": (_FORMAT, state),
    }
    types = (Value("int64"), Value("string"), Value("string"), Sequence(Value(label_type)), Value("string"))
    features = Features(dict(zip(_COLUMNS, types, strict=True)))
    try:
        dataset = Dataset.from_generator(_rows, features=features, cache_dir=cache_dir, gen_kwargs=kwargs)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, XMCError):
            raise error.__cause__ from None
        raise
    kept = _kept(dataset.data.column("error"), source)
    columns = [dataset.data.column(name) for name in _COLUMNS[:-1]]
    if not kept.all():
        columns = [column.filter(pa.array(kept)) for column in columns]
        dataset = dataset.select(np.flatnonzero(kept))
    lines, ids, texts, labels = columns
    split = RawSplit(ids.to_pylist(), ArrowTexts(dataset), labels, lambda row: f"{source}:{lines[row]}", kept)
    _report_empty(split, texts)
    return split


def _rows(
    read: Callable[..., Iterable[Document | XMCError]],
    files: tuple[Path, ...],
    arguments: tuple[tuple[str, Any], ...],
    skip: bool,
    state: object,
) -> Iterator[dict[str, Any]]:
    document = None
    for document in read(files, **dict(arguments)):
        if not isinstance(document, XMCError):
            yield dict(zip(_COLUMNS, (*document, None), strict=True))
        elif skip:
            yield dict.fromkeys(_COLUMNS) | {"error": str(document)}
        else:
            raise document
    if document is None:
        raise XMCError(f"{files[0]}: no documents; fill the file or remove it")


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
