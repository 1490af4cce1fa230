"""Corpora in the layout of PECOS: a file of texts and a sparse matrix of labels a split."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from xmc.data import files as inputs
from xmc.data.benchmark import BenchmarkData, Layout
from xmc.data.formats import Document
from xmc.data.lines import attempt, numbered_lines, side_by_side, text_line
from xmc.errors import XMCError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xmc.data.corpus import Corpus


class PecosData(BenchmarkData):
    """The layout of PECOS: X.{trn,tst}.txt, one document a line; Y.{trn,tst}.npz, the labels as scipy CSR.

    output-items.txt, if there is one, has one label name a line.
    """

    layout: ClassVar = Layout([["X.trn.txt"], ["Y.trn.npz"], ["X.tst.txt"], ["Y.tst.npz"]], ["output-items.txt"])

    kind: Literal["pecos"] = "pecos"

    def read(self) -> "Corpus":
        """The corpus of `X.trn.txt`, `Y.trn.npz`, `X.tst.txt` and `Y.tst.npz` in the folder; tst may lack.

        Line i of X is the document whose labels are the non-zero columns of row i of Y. Label ids are the columns'
        numbers, from 0; names are the lines of `output-items.txt`, where there is one. Documents are named `train-0`,
        ... by their row. A document that is skipped goes together with its row.
        """
        from xmc.data.assemble import assemble
        from xmc.data.npz import shape_of
        from xmc.data.store import stored

        folder = self.folder
        splits, columns = {}, {}
        for split, short in (("train", "trn"), ("test", "tst")):
            pair = (folder / f"X.{short}.txt", folder / f"Y.{short}.npz")
            if split == "train" or any(path.is_file() for path in pair):
                texts, labels = map(inputs.file, pair)
                shape = shape_of(labels)
                columns[labels] = shape[1]
                splits[split] = stored(
                    *(_documents, (texts, labels), self.cache),
                    label_type="int32",
                    on_error=self.on_error,
                    split=split,
                    shape=shape,
                )
        if len(set(columns.values())) > 1:
            told = ", ".join(f"{path} has {count} columns" for path, count in columns.items())
            raise XMCError(f"{told}; both must have a column for each label")
        return assemble(folder.resolve().name, splits, _label_names(folder, next(iter(columns.items()))))


def _label_names(folder: Path, matrix: tuple[Path, int]) -> dict[str, str] | int:
    """Names by column number; without names, how many columns there are."""
    labels_file, count = folder / "output-items.txt", matrix[1]
    if not labels_file.is_file():
        return count
    names = [line.strip() for _, line in inputs.text_lines(labels_file)]
    if len(names) != count:
        raise XMCError(
            f"{labels_file} has {len(names)} lines, {matrix[0]} has {count} columns; line i must name column i. "
            "Without that file the labels are called by their numbers"
        )
    return {str(column): name or str(column) for column, name in enumerate(names)}


def _documents(files: tuple[Path, Path], split: str, shape: tuple[int, int]) -> Iterator[Document | XMCError]:
    from xmc.data.npz import label_rows, shape_of

    texts, matrix = files
    rows, columns = shape
    if shape_of(matrix) != shape:
        raise inputs.changed(matrix)
    if rows > texts.stat().st_size + 1:
        raise XMCError(
            f"{matrix} has {rows} rows, more than {texts} has bytes; line i of both must be the same document"
        )

    def document(number: int, raw: bytes, labels: "NDArray[np.integer]") -> Document:
        text = text_line(raw, f"{texts}:{number}").strip()
        outside = labels[(labels < 0) | (labels >= columns)]
        if len(outside):
            raise XMCError(
                f"{texts}:{number}: row {number - 1} of {matrix} has the label index {outside[0]}; it has {columns} "
                f"columns, 0 to {columns - 1}"
            )
        return number, f"{split}-{number - 1}", text, labels.tolist()

    with inputs.open_bytes(texts) as stream:
        lines = numbered_lines(stream, str(texts))
        for (number, raw), labels in side_by_side(lines, label_rows(matrix), names=files):
            yield attempt(document, number, raw, labels)
