"""Corpora in the layout of PECOS: a file of texts and a sparse matrix of labels a split."""

import zipfile
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xmc.data import files as inputs
from xmc.data.assemble import assemble
from xmc.data.corpus import Corpus
from xmc.data.store import Document, OnError, stored
from xmc.types import XMCError

_EXPECTED = "expected a CSR matrix as scipy.sparse.save_npz writes it"


def read_pecos(root: str | Path, *, on_error: OnError = "error", cache_dir: str | Path | None = None) -> Corpus:
    """The corpus of `X.trn.txt`, `Y.trn.npz`, `X.tst.txt` and `Y.tst.npz` in the folder `root`; tst may lack.

    Line i of X is the document whose labels are the non-zero columns of row i of Y. Label ids are the columns' numbers,
    from 0; names are the lines of `output-items.txt`, where there is one. Documents are named `train-0`, ... by their
    row.

    on_error: "skip" leaves out a document that cannot be used together with its row, and logs how many there are.

    Raises XMCError, naming file and line, for whatever cannot be read or does not fit together.
    """
    folder = inputs.folder(root)
    cache = None if cache_dir is None else Path(cache_dir)
    splits, columns = {}, {}
    for split, short in (("train", "trn"), ("test", "tst")):
        pair = (folder / f"X.{short}.txt", folder / f"Y.{short}.npz")
        if split == "train" or any(path.is_file() for path in pair):
            texts, labels = map(inputs.file, pair)
            columns[labels] = _columns(labels)
            splits[split] = stored(
                _documents, (texts, labels), cache, label_type="int32", on_error=on_error, split=split
            )
    if len(set(columns.values())) > 1:
        told = ", ".join(f"{path} has {count} columns" for path, count in columns.items())
        raise XMCError(f"{told}; both must have a column for each label")
    return assemble(folder.resolve().name, splits, _label_names(folder, next(iter(columns.items()))))


def _label_names(folder: Path, matrix: tuple[Path, int]) -> dict[str, str]:
    """Names by column number."""
    labels_file, count = folder / "output-items.txt", matrix[1]
    if not labels_file.is_file():
        return {str(column): str(column) for column in range(count)}
    names = [line.strip() for _, line in inputs.text_lines(labels_file)]
    if len(names) != count:
        raise XMCError(
            f"{labels_file} has {len(names)} lines, {matrix[0]} has {count} columns; line i must name column i. "
            "Without that file the labels are called by their numbers"
        )
    return {str(column): name or str(column) for column, name in enumerate(names)}


def _documents(files: tuple[Path, Path], split: str) -> Iterator[Document | XMCError]:
    texts, matrix = files
    columns = _columns(matrix)

    def document(number: int, raw: bytes, labels: NDArray[np.integer]) -> Document:
        text = inputs.text_line(raw, f"{texts}:{number}").strip()
        outside = labels[(labels < 0) | (labels >= columns)]
        if len(outside):
            raise XMCError(
                f"{texts}:{number}: row {number - 1} of {matrix} has the label index {outside[0]}; it has {columns} "
                f"columns, 0 to {columns - 1}"
            )
        return number, f"{split}-{number - 1}", text, labels.tolist()

    with inputs.open_bytes(texts) as stream:
        lines = inputs.numbered_lines(stream, str(texts))
        for (number, raw), labels in inputs.side_by_side(lines, _label_rows(matrix), names=files):
            yield inputs.attempt(document, number, raw, labels)


def _columns(path: Path) -> int:
    """How many labels a matrix has."""
    shape, format_ = _arrays(path, "shape", "format")
    if format_.item() not in (b"csr", "csr") or shape.shape != (2,):
        raise XMCError(f"{path}: format {format_.item()!r}, shape {shape.tolist()}; {_EXPECTED}")
    return int(shape[1])


def _label_rows(path: Path) -> Iterator[NDArray[np.integer]]:
    """The columns that are not zero in each row; whether they are in range is not checked."""
    shape, data, indices, indptr = _arrays(path, "shape", "data", "indices", "indptr")
    fits = len(indptr) == shape[0] + 1 and indptr[0] == 0 and indptr[-1] == len(indices) == len(data)
    if not fits or (np.diff(indptr) < 0).any() or indices.dtype.kind not in "iu":
        raise XMCError(f"{path}: its offsets do not fit its {shape[0]} rows and {len(indices)} entries; {_EXPECTED}")
    for start, end in pairwise(indptr.tolist()):
        yield indices[start:end][data[start:end] != 0]


def _arrays(path: Path, *names: str) -> list[NDArray[np.generic]]:
    """Arrays of an .npz file; one of Python objects would have to be unpickled, and is an error."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise XMCError(f"{path}: cannot be read ({error}); {_EXPECTED}. Is it complete?") from None
