"""Corpora in the text layout of AttentionXML and LightXML: a file of texts and a file of labels a split."""

from collections.abc import Iterator
from pathlib import Path

from xmc.data import files as inputs
from xmc.data.assemble import assemble
from xmc.data.corpus import Corpus
from xmc.data.labels import read_labels_tsv
from xmc.data.store import Document, OnError, stored
from xmc.errors import XMCError


def read_lightxml(
    root: str | Path,
    *,
    raw: bool = False,
    on_error: OnError = "error",
    cache_dir: str | Path | None = None,
) -> Corpus:
    """The corpus of `{train,dev,test}_texts.txt` and `{train,dev,test}_labels.txt` in the folder `root`.

    Line i of either file is document i, its labels separated by white space; dev and test may lack. `*_raw_texts.txt`
    are read where `raw` asks for them, or where there are no cleaned ones for train. The vocabulary is `labels.tsv`
    where there is one, else the labels of all splits. Documents are named `train-0`, `train-1`, ... by their line.

    on_error: "skip" leaves out a document whose text or labels are not UTF-8, and a label that `labels.tsv` lacks, and
    logs how many there are.

    Raises XMCError, naming file and line, for missing files, files of different lengths and what is not UTF-8.
    """
    folder = inputs.folder(root)
    cache = None if cache_dir is None else Path(cache_dir)
    cleaned = not raw and ((folder / "train_texts.txt").is_file() or not (folder / "train_raw_texts.txt").is_file())
    splits = {}
    for split in ("train", "dev", "test"):
        pair = (folder / f"{split}_{'texts' if cleaned else 'raw_texts'}.txt", folder / f"{split}_labels.txt")
        if split == "train" or any(path.is_file() for path in pair):
            texts, labels = map(inputs.file, pair)
            splits[split] = stored(_documents, (texts, labels), cache, on_error=on_error, split=split)
    vocabulary_file = folder / "labels.tsv"
    names = read_labels_tsv(vocabulary_file) if vocabulary_file.is_file() else None
    return assemble(folder.resolve().name, splits, names, str(vocabulary_file), on_error)


def _documents(files: tuple[Path, Path], split: str) -> Iterator[Document | XMCError]:
    texts, labels = files
    with inputs.open_bytes(texts) as text_stream, inputs.open_bytes(labels) as label_stream:
        lines = (
            inputs.numbered_lines(text_stream, str(texts)),
            inputs.numbered_lines(label_stream, str(labels)),
        )
        for (number, text), (_, tags) in inputs.side_by_side(*lines, names=files):
            yield inputs.attempt(_document, files, split, number, text, tags)


def _document(files: tuple[Path, Path], split: str, number: int, text: bytes, tags: bytes) -> Document:
    texts, labels = (
        inputs.text_line(raw, f"{path}:{number}").strip() for path, raw in zip(files, (text, tags), strict=True)
    )
    return number, f"{split}-{number - 1}", texts, labels.split()
