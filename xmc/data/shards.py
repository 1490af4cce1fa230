"""A split whose documents lie in several files, which are read in order."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from xmc.data.assemble import RawSplit
from xmc.data.corpus import ArrowTexts
from xmc.data.formats import Document, OnError
from xmc.data.store import stored
from xmc.errors import XMCError


def stored_in_order(
    read: Callable[..., Iterable[Document | XMCError]],
    files: Sequence[Path],
    split: str,
    cache: Path,
    *,
    on_error: OnError,
    **arguments: Any,
) -> RawSplit:
    """The documents of all these files, each kept by `stored`.

    `read` is given, as `split`, what it may number the documents of a file by: `train`, then `train-1` ...
    """
    parts = [
        stored(
            *(read, (path,), cache),
            on_error=on_error,
            split=f"{split}-{number}" if number else split,
            **arguments,
        )
        for number, path in enumerate(files)
    ]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: Sequence[RawSplit]) -> RawSplit:
    from datasets import concatenate_datasets

    starts = list(accumulate((len(part.ids) for part in parts), initial=0))

    def where(row: int) -> str:
        part = bisect_right(starts, row) - 1
        return parts[part].where(row - starts[part])

    return RawSplit(
        [id_ for part in parts for id_ in part.ids],
        ArrowTexts(concatenate_datasets([part.texts.dataset for part in parts if isinstance(part.texts, ArrowTexts)])),
        pa.chunked_array([chunk for part in parts for chunk in part.labels.chunks], type=parts[0].labels.type),
        where,
        np.concatenate([part.kept for part in parts if part.kept is not None]),
    )
