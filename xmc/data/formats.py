"""What a data format is: a section with the keys that a reader needs, and the reader itself.

Modules of formats are light, as they serve `xmc --help`: what takes long to import is imported where the data is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from xmc.data import files as inputs
from xmc.data.delimited import AS_FOUND, Dialect
from xmc.part import Part
from xmc.section import Before, Section
from xmc.storage import home_expanded
from xmc.values import Share, Text, Threads

if TYPE_CHECKING:
    from xmc.data.benchmark import Benchmark
    from xmc.data.corpus import Corpus

OnError = Literal["error", "skip"]
Document = tuple[int, str, str, list[str] | list[int]]
"""Line (from 1), id, text and labels of a document: their ids, or their places in the vocabulary."""

BROADER = "broader"
"""Of `parents`: as the vocabulary tells, instead of what divides labels."""

SAME_DOCUMENTS = object()
"""Stands in the type of a key that says where the data lies, or how its files name things: with another value a run
goes on, as its documents stay the same."""


@dataclass(frozen=True)
class Fields:
    """Where a document of a table has its text, its id (empty: nowhere) and its labels, and how CSV is written."""

    text: tuple[str, ...] = ("text",)
    text_separator: str = "\n"
    id: str = "id"
    label: str = "labels"
    label_separator: str = " "
    dialect: Dialect = AS_FOUND

    def but(self, **given: Any) -> "Fields":
        """With what is given instead; None, and no field at all, leave it as it is."""
        return replace(self, **{name: value for name, value in given.items() if value not in (None, ())})


class DataSection(Part):
    """Where documents and their labels come from."""

    holds_text: ClassVar[bool] = True
    """False: rows of sparse features, `SparseRow`."""

    dev_fraction: Share = 0.1
    """cut from train where there is no dev split; 0: train on all, keep the last model"""
    parents: Annotated[Text | None, Before(None)] = None
    """labels imply those above them, in documents and predictions: what divides them, as " > " in `a > b > c`; broader:
    as SKOS tells; null: none do"""
    cache_dir: Annotated[Text, SAME_DOCUMENTS] = "~/.cache/xmc"
    processes: Annotated[Threads, SAME_DOCUMENTS] = 1
    """more serve slow tokenizers; a fast one threads by itself"""

    @property
    def cache(self) -> Path:
        """The folder of what is read and tokenised once."""
        return home_expanded(self.cache_dir)

    @property
    def published(self) -> "Benchmark | None":
        """The published set that this is."""
        return None

    @property
    def fields(self) -> Fields:
        """As other documents, which `xmc predict` reads, are likely to have them, too."""
        return Fields()

    def prepare(self) -> None:
        """Put in place what is published; other data is the user's to put there."""

    def read(self) -> "Corpus":
        """Every split that there is, train always, over one vocabulary.

        Raises:
            XMCError: something cannot be read or does not fit together; it names file and line.
        """
        raise NotImplementedError

    def load(self) -> "Corpus":
        """As `read`, once a published set has proved to be in place and whole, with what labels imply, if asked."""
        return self._with_parents(self.read())

    def _with_parents(self, corpus: "Corpus") -> "Corpus":
        if self.parents is None:
            return corpus
        from xmc.data.hierarchy import with_parents

        return with_parents(corpus, self.parents)

    def elsewhere(self, root: str) -> Self | None:
        """As the files of another folder; None where there are no files."""
        return None


class FolderData(DataSection):
    """Files in a folder."""

    root: Annotated[Text, SAME_DOCUMENTS]
    """folder that holds the files"""
    on_error: Annotated[OnError, SAME_DOCUMENTS] = "error"
    """skip: leave out documents that cannot be used and labels that the vocabulary lacks, and say how many"""

    @property
    def folder(self) -> Path:
        """The root; XMCError where it is no folder that can be read."""
        return inputs.folder(self.root)

    def elsewhere(self, root: str) -> Self | None:
        return self.model_copy(update={"root": root})


class Files(Section):
    """Of each split, under root, a name or pattern (part-*.jsonl); null: the one that is named after it."""

    train: Text | None = None
    dev: Text | None = None
    test: Text | None = None

    def given(self) -> Mapping[str, str]:
        return self.model_dump(exclude_none=True)


FilesBySplit = Annotated[Files, Before(Files()), SAME_DOCUMENTS]
