"""Corpora in the sparse text of the Extreme Classification Repository: bags of words, a number and a value each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from xmc.data import files as inputs
from xmc.data.documents import settled
from xmc.data.formats import Document, Files, FilesBySplit, FolderData, OnError
from xmc.data.labels import MOST_LABELS, check_places
from xmc.data.lines import attempt, numbered_lines, text_line
from xmc.data.sources import Sources
from xmc.data.splits import split_files
from xmc.errors import XMCError
from xmc.sparse_rows import SparseRow
from xmc.values import whole_number

if TYPE_CHECKING:
    from xmc.data.corpus import Corpus

FORMATS = ("txt",)
_STREAM = "<stdin>"


@dataclass(frozen=True)
class _Header:
    """The first line: how many there are. labels None: the rows have features alone."""

    rows: int
    features: int
    labels: int | None


class BowData(FolderData):
    """Sparse text of the Extreme Classification Repository: {train,test}.txt, or <set>_train.txt and so on, under root.

    First line `rows features labels`, then `label,label feature:value ...` a document. Needs encoder=sparse_features.
    Filter files beside them are honoured, as in data=repository.
    """

    holds_text: ClassVar = False

    kind: Literal["bow"] = "bow"
    files: FilesBySplit = Files()

    def read(self) -> "Corpus":
        """The corpus of `{train,dev,test}.txt[.gz]`, or `<set>_train.txt` and so on, in the folder; train must be.

        Labels and features count from 0, in any order; a document without labels begins with a space or with its first
        feature. A text of the corpus is the features as they stand there, `Corpus.num_features` tells how many there
        are. Labels are called by their numbers, documents `train-0`, ... by their row. A number of rows other than the
        header's is an error always. Filters become `Split.filter`.
        """
        from xmc.data.assemble import assemble
        from xmc.data.filters import filtered
        from xmc.data.store import stored

        folder = self.folder
        found = split_files(folder, self.files.given(), FORMATS, _is_of)
        paths = {split: _single(files) for split, files in found.items()}
        sizes = features, labels = _sizes(paths)
        splits = {}
        for split, path in paths.items():
            documents = stored(
                *(_documents, (path,), self.cache),
                label_type="int32",
                on_error=self.on_error,
                split=split,
                sizes=sizes,
            )
            splits[split] = filtered(documents, folder, split, labels)
        return replace(assemble(folder.resolve().name, splits, labels), num_features=features)


def read_rows(
    source: Sources | Iterable[bytes], features: int, on_error: OnError = "error"
) -> Iterator[tuple[str, str] | XMCError]:
    """Row, from 0, and features of each document of files, or of a stream such as `sys.stdin.buffer`.

    Of several files the file's name stands before the row. As `BowData` reads them, or without labels: then the header
    is `rows features`. Nothing but the current document is held. features: how many the header must tell. on_error: see
    `settled`.

    Raises XMCError, naming file and line, for whatever cannot be read.
    """

    def rows() -> Iterator[tuple[str, str] | XMCError]:
        if not isinstance(source, Sources):
            yield from _rows(source, _STREAM, "", features)
            return
        for one in source:
            with inputs.open_bytes(one.path) as stream:
                yield from _rows(stream, str(one.path), one.prefix, features)

    return settled(rows(), str(source) if isinstance(source, Sources) else _STREAM, on_error)


def _rows(stream: Iterable[bytes], name: str, prefix: str, features: int) -> Iterator[tuple[str, str] | XMCError]:
    def document(row: int, number: int, raw: bytes) -> tuple[str, str]:
        return f"{prefix}{row}", _row(raw, header, f"{name}:{number}")[1]

    lines = numbered_lines(stream, name)
    header = _header(lines, name)
    if header.features != features:
        raise XMCError(f"{name}:1: the header tells {header.features} features; the model was trained on {features}")
    for row, (number, raw) in enumerate(_counted(lines, header, name)):
        yield attempt(document, row, number, raw)


def _is_of(stem: str, split: str) -> bool:
    """`train`, or `eurlex_train`; but `filter_labels_train` holds no documents."""
    return stem == split or (stem.endswith(f"_{split}") and not stem.startswith("filter_labels"))


def _single(files: tuple[Path, ...]) -> Path:
    if len(files) > 1:
        raise XMCError(f"{files[0]} and {files[1]}: a split of data=bow is a single file, below one header; join them")
    return files[0]


def _sizes(paths: Mapping[str, Path]) -> tuple[int, int]:
    """Features and labels, of which all files must tell the same numbers."""
    found = {}
    for path in paths.values():
        with inputs.open_bytes(path) as stream:
            header = _header(numbered_lines(stream, str(path)), str(path))
        if header.labels is None:
            raise XMCError(f"{path}:1: the header tells no number of labels; expected `rows features labels`")
        found[path] = (header.features, header.labels)
    if len(set(found.values())) > 1:
        told = ", ".join(f"{path} tells {features} and {labels}" for path, (features, labels) in found.items())
        raise XMCError(f"{told}; the headers of all files must have the same numbers of features and labels")
    return next(iter(found.values()))


def _header(lines: Iterator[tuple[int, bytes]], name: str) -> _Header:
    line = text_line(next(lines, (1, b""))[1], f"{name}:1")
    try:
        rows, features, *labels = map(whole_number, line.split())
        if len(labels) > 1 or min(rows, features, *labels) < 0:
            raise ValueError
    except ValueError:
        raise XMCError(
            f"{name}:1: expected the header `rows features labels`, or `rows features` where the rows have no labels; "
            f"found {line!r:.40}"
        ) from None
    if max([features, *labels]) > MOST_LABELS:
        raise XMCError(
            f"{name}:1: the header tells {line.strip()!r}; at most {MOST_LABELS} features and labels are taken"
        )
    return _Header(rows, features, labels[0] if labels else None)


def _documents(files: tuple[Path], split: str, sizes: tuple[int, int]) -> Iterator[Document | XMCError]:
    (path,) = files

    def document(row: int, number: int, raw: bytes) -> Document:
        labels, features = _row(raw, header, f"{path}:{number}")
        return number, f"{split}-{row}", features, labels

    with inputs.open_bytes(path) as stream:
        lines = numbered_lines(stream, str(path))
        header = _header(lines, str(path))
        if (header.features, header.labels) != sizes:
            raise inputs.changed(path)
        for row, (number, raw) in enumerate(_counted(lines, header, str(path))):
            yield attempt(document, row, number, raw)


def _counted(lines: Iterator[tuple[int, bytes]], header: _Header, name: str) -> Iterator[tuple[int, bytes]]:
    """The lines behind the header, if they are as many as it tells."""
    found = 0
    for number, raw in lines:
        if found < header.rows:
            found += 1
            yield number, raw
        elif raw.strip():
            raise XMCError(f"{name}:{number}: the header tells {header.rows} rows, and this is one more; correct it")
    if found < header.rows:
        raise XMCError(f"{name}:1: the header tells {header.rows} rows, the file has {found}; is it complete?")


def _row(raw: bytes, header: _Header, where: str) -> tuple[list[int], str]:
    """Labels and features of a document."""
    line = text_line(raw, where)
    features = line.strip()
    places: list[int] = []
    if header.labels is not None and features and not line[0].isspace():
        first, *rest = line.split(maxsplit=1)
        if ":" not in first:
            features = rest[0].strip() if rest else ""
            places = _places(first, where)
            check_places(places, header.labels, where)
    SparseRow.parse(features, header.features, where)
    return places, features


def _places(text: str, where: str) -> list[int]:
    try:
        return [whole_number(place) for place in text.split(",")]
    except ValueError:
        raise XMCError(
            f"{where}: expected `label,label feature:value ...`, labels as whole numbers, found {text!r:.40}"
        ) from None
