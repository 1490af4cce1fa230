"""What the data counts: read off the corpus, or taken from what a benchmark set is known to count."""

import sys
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc import factory
from xmc.config import TrainConfig
from xmc.data.benchmark import Benchmark
from xmc.data.corpus import Corpus
from xmc.model.bag import BagModel, EmbeddingBag
from xmc.types import Batch

_LONGEST = 2048  # documents whose terms are looked at
_CHARACTERS = 6  # of a token, where texts were not read
_STRING = sys.getsizeof("") + 12  # bytes of an id or a label's name


@dataclass(frozen=True)
class Terms:
    """Of a bag. words, bigrams: rows of its table. ends, of_documents: the longest documents' terms, CSR."""

    words: int
    bigrams: int
    ends: NDArray[np.int64] | None = None
    of_documents: NDArray[np.int64] | None = None

    def of_batch(self, size: int, max_length: int, dropout: float) -> int:
        """Rows of the table that a batch of the longest documents touches; every word another, where none was read."""
        if self.ends is None or self.of_documents is None:
            return min(self.words + self.bigrams, 2 * size * max_length)
        _, counts = np.unique(self.of_documents[: self.ends[min(size, len(self.ends)) - 1]], return_counts=True)
        return int((1 - dropout**counts).sum()) * -(-size // len(self.ends))

    def entries(self, size: int, max_length: int, dropout: float) -> int:
        """Terms of such a batch, each as often as documents have it."""
        if self.ends is None:
            return int((1 - dropout) * 2 * size * max_length)
        return int((1 - dropout) * self.ends[min(size, len(self.ends)) - 1]) * -(-size // len(self.ends))


@dataclass(frozen=True)
class Counts:
    """documents, labels: of the train split. pairs: labels of all documents. tokens: of all documents.

    text_bytes: of all splits. mapped: texts and tokens lie in files that the system pages in and out. strings: ids and
    names of documents and labels. terms: of the bag, if the encoder has one. assumed: what is not known, and taken for.
    """

    documents: int
    labels: int
    pairs: int
    tokens: int
    text_bytes: int
    strings: int
    mapped: bool
    terms: Terms | None
    assumed: tuple[str, ...] = ()


def count(config: TrainConfig, labels_a_document: int) -> Counts:
    """Of a benchmark set what its YAML says, without a look at its files; any other set is read, from the cache.

    labels_a_document: on average, of a benchmark set.
    """
    if (benchmark := config.data.published) is not None:
        return _of_benchmark(config, benchmark, labels_a_document)
    return _of_corpus(config, factory.load_corpus(config))


def _of_benchmark(config: TrainConfig, known: Benchmark, labels_a_document: int) -> Counts:
    length = config.encoder.max_length
    documents = known.train + known.test
    bag = config.encoder.bag
    assumed = [
        f"{labels_a_document} labels a document (labels_a_document=...)",
        f"documents of encoder.max_length={length} tokens",
    ]
    if bag is not None:
        assumed.append("as many words and bigrams as the encoder may have, and no term twice in a batch")
    return Counts(
        documents=known.train,
        labels=known.labels,
        pairs=labels_a_document * documents,
        tokens=length * known.train,
        text_bytes=_CHARACTERS * length * documents,
        strings=_STRING * (documents + 2 * known.labels),
        mapped=True,
        terms=None if bag is None else Terms(config.encoder.most_words(), bag.bigrams),
        assumed=tuple(assumed),
    )


def _of_corpus(config: TrainConfig, corpus: Corpus) -> Counts:
    if config.trainer.label_texts:
        corpus = corpus.with_label_texts()
    train, splits = corpus.split("train"), corpus.splits.values()
    mapped = not any(isinstance(split.texts, list) for split in splits)
    length = config.encoder.max_length
    terms, tokens, assumed = None, length * len(train), [f"documents of encoder.max_length={length} tokens"]
    if config.encoder.bag is not None:
        terms, tokens = _terms(config, corpus)
        assumed = []
    return Counts(
        documents=len(train),
        labels=len(corpus.label_ids),
        pairs=sum(split.labels.nnz for split in splits),
        tokens=tokens,
        text_bytes=sum(len(text.encode()) for split in splits for text in split.texts),
        strings=_STRING * (sum(map(len, splits)) + 2 * len(corpus.label_ids)),
        mapped=mapped,
        terms=terms,
        assumed=tuple(assumed),
    )


def _terms(config: TrainConfig, corpus: Corpus) -> tuple[Terms, int]:
    """From the encoder itself, at width 1, which has no say in its terms; and the tokens of train."""
    narrow = config.model_copy(update={"encoder": config.encoder.narrow()})
    encoder = factory.build_encoder(narrow, corpus)
    (bag,) = (module for module in encoder.modules() if isinstance(module, EmbeddingBag))
    batches = factory.build_batches(config, corpus, "train", encoder, min(_LONGEST, len(corpus.split("train"))))
    batch = next(iter(batches.by_length()))
    documents, terms = _entries(bag, batch)
    ends = torch.bincount(documents, minlength=len(batch)).cumsum(0)
    bigrams = bag.config.num_bigrams if isinstance(bag, BagModel) else 0
    found = Terms(len(bag.table) - bigrams, bigrams, ends.numpy(), terms.numpy())
    return found, int(batches.lengths.sum())


@torch.no_grad()
def _entries(bag: EmbeddingBag, batch: Batch) -> tuple[Tensor, Tensor]:
    """Document and row of the table of each term of a batch."""
    if isinstance(bag, BagModel):
        return bag.terms(batch.input_ids, batch.attention_mask)[:2]
    documents, places = batch.attention_mask.nonzero(as_tuple=True)
    return documents, batch.input_ids[documents, places]
