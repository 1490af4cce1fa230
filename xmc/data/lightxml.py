"""Corpora in the text layout of AttentionXML and LightXML: a file of texts and a file of labels a split."""

import logging
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from xmc.data import files as inputs
from xmc.data.assemble import RawSplit, assemble
from xmc.data.corpus import Corpus
from xmc.data.labels import read_labels_tsv
from xmc.data.store import Document, stored
from xmc.types import XMCError

log = logging.getLogger(__name__)


def read_lightxml(
    root: str | Path,
    *,
    raw: bool | None = None,
    empty_text: Literal["keep", "error"] = "keep",
    cache_dir: str | Path | None = None,
) -> Corpus:
    """The corpus of `{train,dev,test}_texts.txt` and `{train,dev,test}_labels.txt` in the folder `root`.

    Line i of either file is document i, its labels separated by white space; dev and test may lack. raw: read
    `*_raw_texts.txt`; None prefers them where there are both. The vocabulary is `labels.tsv` where there is one, else
    the labels of all splits. Documents are named `train-0`, `train-1`, ...

    empty_text: published sets have documents of which cleaning left nothing; "keep" keeps them, and their counts
    comparable, and logs how many there are and where the first one is.

    Raises XMCError, naming file and line, for missing files, files of different lengths and, if asked, empty texts.
    """
    folder = inputs.folder(root)
    cache = None if cache_dir is None else Path(cache_dir)
    splits = {}
    for split in ("train", "dev", "test"):
        pair = _split_files(folder, split, raw)
        if pair:
            splits[split] = stored(_documents, pair, cache, split=split)
            _report_empty(splits[split], empty_text)
    vocabulary_file = folder / "labels.tsv"
    names = read_labels_tsv(vocabulary_file) if vocabulary_file.is_file() else None
    return assemble(folder.resolve().name, splits, names, str(vocabulary_file))


def _report_empty(split: RawSplit, empty_text: str) -> None:
    empty = [row for row, text in enumerate(split.texts) if not text]
    if empty and (empty_text == "error" or len(empty) == len(split.texts)):
        raise XMCError(
            f"{split.where(empty[0])}: empty text ({len(empty)} of {len(split.texts)} documents); "
            "remove these lines from the text and the label file"
        )
    if empty:
        log.warning("%s: empty text, kept (%d of %d documents)", split.where(empty[0]), len(empty), len(split.texts))


def _split_files(folder: Path, split: str, raw: bool | None) -> tuple[Path, Path] | None:
    """The text and label file of a split; None for a dev or test split of which there is neither."""
    kinds = {True: ["raw_texts"], False: ["texts"], None: ["raw_texts", "texts"]}[raw]
    candidates = [folder / f"{split}_{kind}.txt" for kind in kinds]
    texts = next((path for path in candidates if path.is_file()), candidates[-1])
    labels = folder / f"{split}_labels.txt"
    if split != "train" and not (texts.is_file() or labels.is_file()):
        return None
    return inputs.file(texts), inputs.file(labels)


def _documents(files: tuple[Path, Path], split: str) -> Iterator[Document]:
    texts, labels = files
    with inputs.open_bytes(texts) as text_stream, inputs.open_bytes(labels) as label_stream:
        lines = zip_longest(
            inputs.numbered_lines(text_stream, str(texts)), inputs.numbered_lines(label_stream, str(labels))
        )
        for row, (text, tags) in enumerate(lines):
            if text is None or tags is None:
                rest = 1 + sum(1 for _ in lines)
                counts = (row + rest, row) if tags is None else (row, row + rest)
                raise XMCError(
                    f"{texts} has {counts[0]} lines, {labels} has {counts[1]}; line i of both must be the same document"
                )
            tag_line = inputs.utf8(tags[1], f"{labels}:{row + 1}")
            yield row + 1, f"{split}-{row}", inputs.utf8(text[1], f"{texts}:{row + 1}").strip(), tag_line.split()
