"""Synthetic sets of any size: what a number of labels costs, before there is any data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from xmc.data.formats import DataSection, Document
from xmc.errors import XMCError
from xmc.values import Count, Seed, Size

if TYPE_CHECKING:
    from xmc.data.corpus import Corpus

_SPLITS = {"train": 1, "test": 10}  # a test document for every ten to train on


class SyntheticData(DataSection):
    """Generated texts with planted structure: what would my label count cost?

    A label applies where all its words occur, and no single word tells. More in xmc/data/synthetic.py.
    """

    kind: Literal["synthetic"] = "synthetic"
    num_labels: Count = 100_000
    """Zipf frequencies, label 0 the most frequent"""
    num_documents: Count = 100_000
    """to train on; a tenth as many to test on"""
    num_words: Count = 20_000
    """all labels share them"""
    labels_per_document: Count = 3
    words_per_label: Count = 4
    noise_words: Size = 12
    """a document"""
    seed: Seed = 0
    """of the texts"""

    def read(self) -> "Corpus":
        """A corpus of `num_documents` to train on and a tenth as many to test on; seed and sizes decide every document.

        Each label owns `words_per_label` of `num_words` made-up words, and shares each of them with other labels. A
        document draws `labels_per_document` labels (one drawn twice counts once); its text is the words of them and
        `noise_words` others in random order. So a label applies where all its words occur, chance aside, and no single
        word tells. Label frequencies follow the Zipf-Mandelbrot law, label 0 the most frequent. A label's name is its
        words.

        Documents are drawn and stored a block at a time. More of them leave the first ones as they are.

        Raises XMCError where a label would own more words than there are.
        """
        from xmc.data.assemble import assemble
        from xmc.data.planted import LabelNames, label_words
        from xmc.data.store import stored

        if self.words_per_label > self.num_words:
            raise XMCError(
                f"data.words_per_label={self.words_per_label} exceeds data.num_words={self.num_words}; lower it"
            )
        splits = {
            split: stored(
                *(_documents, (), self.cache),
                label_type="int32",
                split=split,
                count=max(1, self.num_documents // share),
                num_labels=self.num_labels,
                num_words=self.num_words,
                labels_per_document=self.labels_per_document,
                words_per_label=self.words_per_label,
                noise_words=self.noise_words,
                seed=self.seed,
            )
            for split, share in _SPLITS.items()
        }
        words_of = label_words(self.num_labels, self.words_per_label, self.num_words, self.seed)
        return assemble("synthetic", splits, LabelNames(words_of, self.num_words))


def _documents(files: tuple[()], split: str, count: int, **shape: int) -> Iterator[Document]:
    from xmc.data.planted import draw_documents

    for row, (text, labels) in enumerate(draw_documents(split, count, **shape)):
        yield row + 1, f"{split}-{row}", text, labels
