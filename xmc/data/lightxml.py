"""Corpora in the text layout of AttentionXML and LightXML: a file of texts and a file of labels a split."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xmc.data import files as inputs
from xmc.data.formats import Document, FolderData
from xmc.data.labels import read_labels_tsv
from xmc.data.lines import attempt, numbered_lines, side_by_side, text_line
from xmc.errors import XMCError

if TYPE_CHECKING:
    from xmc.data.corpus import Corpus


class LightXMLData(FolderData):
    """The AttentionXML / LightXML layout: {train,test}_texts.txt and {train,test}_labels.txt, one document a line."""

    kind: Literal["lightxml"] = "lightxml"
    raw: bool = False
    """true: {train,test}_raw_texts.txt; false: these only where there are no cleaned texts"""

    def read(self) -> "Corpus":
        """The corpus of `{train,dev,test}_texts.txt` and `{train,dev,test}_labels.txt`; dev and test may lack.

        Line i of either file is document i, its labels separated by white space. `*_raw_texts.txt` are read where `raw`
        asks for them, or where there are no cleaned ones for train. The vocabulary is `labels.tsv` where there is one,
        else the labels of all splits. Documents are named `train-0`, `train-1`, ... by their line.
        """
        from xmc.data.assemble import assemble
        from xmc.data.store import stored

        folder = self.folder
        only_raw = (folder / "train_raw_texts.txt").is_file() and not (folder / "train_texts.txt").is_file()
        splits = {}
        for split in ("train", "dev", "test"):
            texts = folder / f"{split}_{'raw_texts' if self.raw or only_raw else 'texts'}.txt"
            pair = (texts, folder / f"{split}_labels.txt")
            if split == "train" or any(path.is_file() for path in pair):
                files = (inputs.file(pair[0]), inputs.file(pair[1]))
                splits[split] = stored(_documents, files, self.cache, on_error=self.on_error, split=split)
        vocabulary = folder / "labels.tsv"
        names = read_labels_tsv(vocabulary) if vocabulary.is_file() else None
        return assemble(folder.resolve().name, splits, names, str(vocabulary), self.on_error)


def _documents(files: tuple[Path, Path], split: str) -> Iterator[Document | XMCError]:
    texts, labels = files
    with inputs.open_bytes(texts) as text_stream, inputs.open_bytes(labels) as label_stream:
        lines = (
            numbered_lines(text_stream, str(texts)),
            numbered_lines(label_stream, str(labels)),
        )
        for (number, text), (_, tags) in side_by_side(*lines, names=files):
            yield attempt(_document, files, split, number, text, tags)


def _document(files: tuple[Path, Path], split: str, number: int, text: bytes, tags: bytes) -> Document:
    texts, labels = (text_line(raw, f"{path}:{number}").strip() for path, raw in zip(files, (text, tags), strict=True))
    return number, f"{split}-{number - 1}", texts, labels.split()
