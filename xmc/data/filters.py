"""Filter files of the Extreme Classification Repository: labels to leave out of a document's evaluation."""

from array import array
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from xmc.data.files import text_lines
from xmc.types import XMCError


def read_filter(path: Path, documents: int, labels: int) -> csr_matrix:
    """The pairs of a file with `document label` a line, both from 0, as float32 CSR of ones [documents, labels].

    An empty file has no pairs. Raises XMCError, naming file and line, for what is no such pair or out of range.
    """
    pairs = array("q")
    for number, line in text_lines(path):
        where = f"{path}:{number}"
        try:
            document, label = map(int, line.split())
        except ValueError:
            raise XMCError(f"{where}: expected `document label`, two whole numbers, found {line!r:.40}") from None
        for name, value, count in (("document", document, documents), ("label", label, labels)):
            if not 0 <= value < count:
                raise XMCError(
                    f"{where}: {name} {value} is out of range, there are {count} from 0 to {count - 1}; "
                    "is it the filter of this split?"
                )
        pairs.extend((document, label))
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(documents, labels))
    matrix.data.fill(1)
    matrix.sort_indices()
    return matrix
