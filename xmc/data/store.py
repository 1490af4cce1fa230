"""Documents of a split on disk: read once into an Arrow cache, memory-mapped from then on."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Sequence, Value
from datasets.exceptions import DatasetGenerationError

from xmc.data.assemble import RawSplit
from xmc.data.corpus import ArrowTexts
from xmc.types import XMCError

_FEATURES = Features(
    {"line": Value("int64"), "id": Value("string"), "text": Value("string"), "labels": Sequence(Value("string"))}
)
_FORMAT = 1  # raise when readers come to read the same file differently

Document = tuple[int, str, str, list[str]]
"""Line (from 1), id, text and label ids of a document."""


def stored(
    read: Callable[..., Iterable[Document]], files: tuple[Path, ...], cache_dir: Path | None, **arguments: Any
) -> RawSplit:
    """The documents of `read(files, **arguments)`, from the cache where the files and arguments are the same.

    Messages place a document in the first of the files. `cache_dir` None is the cache of `datasets`.
    """
    state = tuple((str(path.absolute()), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    arguments = {"read": read, "files": files, "arguments": tuple(arguments.items()), "state": (_FORMAT, state)}
    try:
        dataset = Dataset.from_generator(_rows, features=_FEATURES, cache_dir=cache_dir, gen_kwargs=arguments)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, XMCError):
            raise error.__cause__ from None
        raise
    lines = dataset.data.column("line")
    return RawSplit(
        ids=dataset.data.column("id").to_pylist(),
        texts=ArrowTexts(dataset),
        labels=dataset.data.column("labels"),
        where=lambda row: f"{files[0]}:{lines[row]}",
    )


def _rows(
    read: Callable[..., Iterable[Document]],
    files: tuple[Path, ...],
    arguments: tuple[tuple[str, Any], ...],
    state: object,
) -> Iterator[dict[str, Any]]:
    document = None
    for document in read(files, **dict(arguments)):
        yield dict(zip(_FEATURES, document, strict=True))
    if document is None:
        raise XMCError(f"{files[0]}: no documents; fill the file or remove it")
