"""Folders of texts: a file a document, in the folder that is named after its label."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from xmc.data.documents import text_of_file
from xmc.data.files import format_of
from xmc.data.formats import SAME_DOCUMENTS, Document, FolderData
from xmc.data.lines import attempt
from xmc.data.sources import TEXT, files_below
from xmc.data.splits import SPLITS
from xmc.errors import XMCError
from xmc.values import Encoding

if TYPE_CHECKING:
    from xmc.data.corpus import Corpus


class TextFolders(FolderData):
    """{train,dev,test}/<label>/*.txt under root, plain or compressed; without a folder train, <label>/*.txt."""

    kind: Literal["txt"] = "txt"
    encoding: Annotated[Encoding | None, SAME_DOCUMENTS] = None
    """of texts that are not in UTF-8 or UTF-16; null: guessed"""

    def read(self) -> "Corpus":
        """The corpus of the folders of that name, dev or validation and test if there are any; else all is train.

        A document is called by its path, and its label is that of its folder: `animals/birds` of folders in folders.
        """
        from xmc.data.assemble import assemble
        from xmc.data.store import stored

        root, splits = self.folder, {}
        for split, folder in self._folders(root).items():
            files = tuple(path for path in files_below(folder) if format_of(path, (TEXT,)))
            if not files:
                raise XMCError(f"{folder} has no .{TEXT} file; expected <label>/*.{TEXT} there")
            splits[split] = stored(
                *(_documents, files, self.cache),
                on_error=self.on_error,
                folder=folder,
                split=split,
                root=str(folder),
                encoding=self.encoding,
            )
        return assemble(root.resolve().name, splits, on_error=self.on_error)

    def _folders(self, root: Path) -> dict[str, Path]:
        named = {split: next((root / n for n in names if (root / n).is_dir()), None) for split, names in SPLITS.items()}
        found = {split: folder for split, folder in named.items() if folder is not None}
        return found if "train" in found else {"train": root}


def _documents(files: tuple[Path, ...], split: str, root: str, encoding: str | None) -> Iterator[Document | XMCError]:
    def document(place: int, path: Path) -> Document:
        within = path.relative_to(root)
        label = within.parent.as_posix()
        if label == ".":
            raise XMCError(f"{path}: in no folder of a label; move it into one")
        return place, f"{split}/{within.as_posix()}", text_of_file(path, encoding), [label]

    for place, path in enumerate(files):
        yield attempt(document, place, path)
