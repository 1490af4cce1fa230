"""Published sets: where they come from, which files they have and what they count."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field

from xmc.data.formats import SAME_DOCUMENTS, FolderData
from xmc.errors import XMCError
from xmc.section import Before, Section
from xmc.storage import home_expanded
from xmc.values import Count

if TYPE_CHECKING:
    from xmc.data.corpus import Corpus


@dataclass(frozen=True)
class Layout:
    """The files of a set. needed: any name of each group. optional: what a reader looks at where it is there."""

    needed: Sequence[Sequence[str]]
    optional: Sequence[str]

    def missing(self, *folders: Path) -> list[Sequence[str]]:
        """The groups of which the folders have no file."""
        there = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_file()}
        return [group for group in self.needed if there.isdisjoint(group)]

    def wanted(self, *folders: Path) -> set[str]:
        """The names to unpack: what is missing, and the optional files that are not there."""
        optional = [name for name in self.optional if not any((folder / name).exists() for folder in folders)]
        return {name for group in [*self.missing(*folders), optional] for name in group}


class Benchmark(Section):
    """A published set: where it comes from and what it must count, in documents and labels."""

    name: str
    url: Annotated[str, Field(pattern=r"^https?://")] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    home: str
    licence: str
    train: Count
    test: Count
    labels: Count

    def check(self, corpus: "Corpus", root: str) -> None:
        """Raise XMCError where the corpus, read from the folder `root`, counts other than it should."""
        counts = [
            ("train", "documents", len(corpus.split("train")), self.train),
            ("test", "documents", len(corpus.split("test")), self.test),
            ("the vocabulary", "labels", len(corpus.label_ids), self.labels),
        ]
        wrong = [
            f"{part} has {found:,} {things}, expected {expected:,} ({found - expected:+,})"
            for part, things, found, expected in counts
            if found != expected
        ]
        if wrong:
            raise XMCError(
                f"{root} is not {self.name} as published: {'; '.join(wrong)}. Delete its files and repeat "
                "`xmc prepare`, or read it as it is with data.benchmark=null"
            )


class BenchmarkData(FolderData):
    """Files that may be those of a published set."""

    layout: ClassVar[Layout]

    benchmark: Annotated[Benchmark | None, Before(None), SAME_DOCUMENTS] = None
    """what the published sets of `xmc prepare` must be; their own choices of data fill it"""

    @property
    def published(self) -> Benchmark | None:
        return self.benchmark

    def prepare(self) -> None:
        if (known := self.benchmark) is not None:
            from xmc.data.prepare import prepare

            prepare(self.root, self.layout, url=known.url, sha256=known.sha256, home=known.home)

    def load(self) -> "Corpus":
        if (known := self.benchmark) is None:
            return super().load()
        if missing := self.layout.missing(home_expanded(self.root)):
            names = ", ".join(group[0] for group in missing)
            raise XMCError(f"{self.root} lacks {names} of {known.name}; get them with `xmc prepare data=...`")
        corpus = self.read()
        known.check(corpus, self.root)
        return self._with_parents(corpus)

    def elsewhere(self, root: str) -> Self | None:
        return self.model_copy(update={"root": root, "benchmark": None})
