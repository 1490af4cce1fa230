"""Where documents to predict labels for come from: a file, several, a pattern, a folder."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from xmc.data.files import FORMATS, file, format_of, listing
from xmc.errors import XMCError
from xmc.storage import home_expanded

TEXT = "txt"
"""The format of a file that is one document."""


@dataclass(frozen=True)
class Source:
    """A file of documents. name: what it is called among others; empty where it is the only one that is given."""

    path: Path
    name: str = ""

    @property
    def prefix(self) -> str:
        """What stands before the number of a document without an id."""
        return f"{self.name}:" if self.name else ""


class Sources:
    """Files in order: those of a list as it is given, those of a pattern and below a folder sorted.

    Of a folder the tables are read, or the texts where it has no table. It is walked whenever one iterates, so that no
    more than the names of one folder are held at a time.

    Raises:
        XMCError: what is given is not there, or has no file of documents.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._given = [(name, _found(name)) for name in given]
        self._alone = len(given) == 1 and isinstance(self._given[0][1], Path)

    def __str__(self) -> str:
        return listing([name for name, _ in self._given])

    def __iter__(self) -> Iterator[Source]:
        for _, found in self._given:
            if isinstance(found, _Folder):
                yield from found
            else:
                files = [found] if isinstance(found, Path) else found
                yield from (Source(path, "" if self._alone else str(path)) for path in files)

    def holds(self, path: Path) -> bool:
        """Whether a file, which need not be there yet, is one of those, or lies in a folder that is read."""
        above = path.resolve().parents
        if any(isinstance(found, _Folder) and found.path.resolve() in above for _, found in self._given):
            return True
        return path.exists() and any(source.path.samefile(path) for source in self)

    def state(self) -> str:
        """A digest of the names of all files, their sizes and their times of change."""
        told = xxhash.xxh3_128()
        for source in self:
            found = source.path.stat()
            told.update(f"{source.path.name}\0{source.name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
        return told.hexdigest()

    def count(self) -> int | None:
        """How many documents there are, about; None where telling would take as long as reading them."""
        total = 0
        for source in self:
            match source.path.suffix.lower().removeprefix("."):
                case "parquet":
                    import pyarrow.parquet as pq

                    total += pq.read_metadata(source.path).num_rows
                case "jsonl" | "ndjson":
                    with source.path.open("rb") as stream:
                        total += sum(part.count(b"\n") for part in iter(lambda: stream.read(2**20), b""))
                case "txt":
                    total += 1
                case _:
                    return None
        return total


@dataclass(frozen=True)
class _Folder:
    path: Path
    formats: Sequence[str]

    def __iter__(self) -> Iterator[Source]:
        for path in files_below(self.path):
            if format_of(path, self.formats):
                yield Source(path, path.relative_to(self.path).as_posix())


def _found(name: str) -> Path | list[Path] | _Folder:
    path = home_expanded(name)
    if path.is_dir():
        for formats in (FORMATS, (TEXT,)):
            if any(format_of(below, formats) for below in files_below(path)):
                return _Folder(path, formats)
        raise XMCError(f"{path} has no documents; expected files named .{', .'.join(FORMATS)}, or .{TEXT}")
    if glob.has_magic(name) and not path.exists():
        matches = sorted(below for below in map(Path, glob.glob(str(path), recursive=True)) if below.is_file())
        if not matches:
            raise XMCError(f"no file matches {name}; give a pattern of files, such as 'part-*.jsonl'")
        return matches
    return file(path)


def files_below(folder: Path) -> Iterator[Path]:
    """All files but hidden ones, sorted within each folder."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError as error:
        raise XMCError(f"{folder} cannot be read ({error.strerror}); permit it, or give its files") from None
    for name, is_folder in entries:
        if is_folder:
            yield from files_below(folder / name)
        elif (folder / name).is_file():
            yield folder / name
