"""The documents of a fit, written as `data=jsonl` reads them."""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xmc.errors import XMCError
from xmc.estimator.given import Label, Labels, Texts, as_matrix, columns_of, count, label_lists, plain, texts_of


@contextmanager
def data_folder(run: Path) -> Iterator[Path]:
    """The folder of a run's documents, which this fit alone writes; it goes if the fit fails before it learns.

    Raises:
        XMCError: the folder is there already.
    """
    folder = run / "data"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise XMCError(
            f"{run} already holds a run; give another folder, or run=None, so that each fit has one of its own"
        ) from None
    try:
        yield folder
    except BaseException:
        if not (run / "checkpoints").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def write_documents(
    path: Path, texts: Texts, labels: Labels, classes: Sequence[Label] | None, columns: Sequence[str] | None
) -> list[Label]:
    """Write texts and their labels; returns the classes: those that are given, those of a matrix, or those that occur.

    Raises XMCError for texts or labels that cannot be learned from, naming the row.
    """
    found = texts_of(texts, columns)
    if len(found) != count(labels):
        raise XMCError(f"fit takes as many texts as labels, got {len(found)} and {count(labels)}")
    seen: dict[str, Label] = {}
    with open(path, "w", encoding="utf-8") as out:
        for row, (text, of_one) in enumerate(zip(found, label_lists(labels, classes), strict=True)):
            document = {
                "id": str(row) if path.stem == "train" else f"{path.stem}-{row}",
                "text": text,
                "labels": sorted(map(str, of_one)),
            }
            out.write(json.dumps(document) + "\n")
            for label in of_one:
                if seen.setdefault(str(label), label) != label:
                    raise XMCError(f"labels has {label!r} and {seen[str(label)]!r}; name them apart")
    if classes is not None:
        return list(classes)
    if (matrix := as_matrix(labels)) is not None:
        return list(range(matrix.shape[1]))
    return list(seen.values())


def names_of(labels: Labels, classes: Iterable[Label] | None) -> list[Label] | None:
    """The vocabulary in its order: as it is given, else the columns of a DataFrame; None where nothing tells it."""
    return columns_of(labels) if classes is None else plain(classes)


def write_vocabulary(path: Path, classes: Sequence[Label]) -> None:
    """Raises XMCError for a label that no line of the file can hold."""
    for label in map(str, classes):
        if not label or any(c in label for c in "\t\r\n"):
            raise XMCError(f"the class {label!r} is empty or has a tab or line break; rename it")
    path.write_text("id\tname\n" + "".join(f"{label}\t{label}\n" for label in classes), encoding="utf-8")
