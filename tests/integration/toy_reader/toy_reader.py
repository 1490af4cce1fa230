"""A data format of one's own, in a package of its own: `label label: text` a line."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xmc.data.files import open_bytes
from xmc.data.formats import Document, FolderData
from xmc.errors import XMCError

if TYPE_CHECKING:
    from xmc.data.corpus import Corpus


class ToyData(FolderData):
    """{train,test}.toy under root: `label label: text` a line."""

    kind: Literal["toy"] = "toy"
    sign: str = ":"
    """between labels and text"""

    def read(self) -> "Corpus":
        from xmc.data.assemble import assemble
        from xmc.data.store import stored

        files = {split: self.folder / f"{split}.toy" for split in ("train", "test")}
        splits = {
            split: stored(_documents, (file,), self.cache, on_error=self.on_error, split=split, sign=self.sign)
            for split, file in files.items()
        }
        return assemble(self.folder.name, splits)


def _documents(files: tuple[Path], split: str, sign: str) -> Iterator[Document | XMCError]:
    with open_bytes(files[0]) as stream:
        for number, line in enumerate(stream, 1):
            labels, found, text = line.decode().partition(sign)
            if found:
                yield number, f"{split}-{number}", text.strip(), labels.split()
            else:
                yield XMCError(f"{files[0]}:{number}: expected `labels{sign} text`; write an empty list of labels too")
