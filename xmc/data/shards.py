"""A split whose documents lie in several files, which are read in order."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa

from xmc.data.assemble import RawSplit
from xmc.data.corpus import ArrowTexts


def in_order(paths: Sequence[Path], split: str, keep: Callable[[Path, str], RawSplit]) -> RawSplit:
    """The documents of all these files, one file after another.

    `keep`, which stores those of one, is given what it may number them by: `train`, then `train-1` ...
    """
    parts = [keep(path, f"{split}-{number}" if number else split) for number, path in enumerate(paths)]
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
