"""What stands beside the network: a half of the model that reads words as they are."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

from xmc.part import Part
from xmc.registry import Registry
from xmc.section import Before
from xmc.values import Count, NonNegative, Positive, Size

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from xmc.data.batches import Batches
    from xmc.data.corpus import Corpus
    from xmc.model.encoder import Encoder
    from xmc.model.lexical import LexicalHalf, Terms
    from xmc.types import Batch

logger = logging.getLogger(__name__)

_CHUNK = 4096  # documents whose terms are counted at a time
_PAIRS = 20_000  # of documents and labels, by which the use of names is judged
_NAMED = 0.08  # share of them with a word of the label's name, below which names mislead
_TERM_BYTES = 40  # of a token, of its word and its bigram
_SORTED_BYTES = 48  # of a term of a label's documents, while they are sorted
_SORTED = 20_000_000  # of these, at most


@dataclass(frozen=True)
class HalfSite:
    """What a lexical half learns from.

    encoder: whose tokens it reads; of the network nothing else counts. corpus: whose training documents it learns.
    batches: the tokens of the training documents of a corpus. seed: of the run.
    """

    encoder: "Encoder"
    corpus: "Corpus"
    batches: "Callable[[Corpus], Batches]"
    seed: int


class LexicalSection(Part):
    """What stands beside the network."""

    @property
    def learns(self) -> bool:
        """Whether there is anything."""
        return True

    @property
    def words_read(self) -> int:
        """How many words a bag's tokenizer should know for it, embedded or not; 0: those that have an embedding."""
        return 0

    @property
    def voters(self) -> int:
        """How many of the training documents nearest to one vote for its labels; 0: none do."""
        return 0

    @abstractmethod
    def learn(self, site: HalfSite) -> "LexicalHalf | None":
        """The half, with coefficients of no dev data; None where there is none."""

    def learning_bytes(self, documents: int, tokens: int, pairs: int) -> tuple[int, int]:
        """Memory of the terms of the documents and of those of labels, while it learns. pairs: labels of documents."""
        return 0, 0


LEXICAL = Registry(
    "lexical", LexicalSection, {"none": "xmc.parts.lexical:NoLexical", "tree": "xmc.parts.lexical:TreeLexical"}
)


class NoLexical(LexicalSection):
    """Nothing."""

    kind: Literal["none"] = "none"

    @property
    def learns(self) -> bool:
        return False

    def learn(self, site: HalfSite) -> None:
        return None


class TreeLexical(LexicalSection):
    """Linear classifiers in a tree, and the labels' centroids, over TF-IDF of words and bigrams; with the network's
    features, the training documents most like one.

    They learn when the network has; how much each counts is fitted on dev.
    """

    kind: Literal["tree"] = "tree"
    words: Annotated[Size, Before(0)] = 500_000
    """at most, beside a bag: also those that stand once, or in the labels' names alone"""
    bigrams: Size = 300_000
    """at most"""
    min_documents: Count = 2
    """that a bigram must occur in"""
    centroid_terms: Count = 128
    """largest terms of the mean of a label's documents"""
    leaf_size: Count = 100
    """labels of a leaf of the tree, at most"""
    start: NonNegative = 6.0
    """a classifier starts at so many times its centroid, with a bias of -2"""
    cost: Positive = 1.0
    """of an error against moving away from there"""
    passes: Count = 6
    """over the documents of a node"""
    threshold: NonNegative = 0.05
    """smaller weights are dropped"""
    neighbours: Annotated[Size, Before(0)] = 20
    """training documents nearest in the network's features that vote, where that pays on dev; 0: none"""

    @property
    def words_read(self) -> int:
        return self.words

    @property
    def voters(self) -> int:
        return self.neighbours

    def learn(self, site: HalfSite) -> "LexicalHalf":
        """The names of the labels are documents too where documents have the words of their labels' names."""
        from scipy.sparse import csr_matrix, vstack

        from xmc.train.lexical import LexicalRecipe, learn_lexical_half

        taught = site.corpus.with_label_texts() if site.encoder.reads_text else site.corpus
        batches, own = site.batches(taught), len(site.corpus.split("train"))
        terms = self._terms(site.encoder, batches)
        rows = [terms.matrix(batch.input_ids, batch.attention_mask, batch.values) for batch in _in_order(batches)]
        documents, labels = csr_matrix(vstack(rows)), batches.labels
        if own < documents.shape[0] and (share := _share_with_names(documents, labels, own, site.seed)) < _NAMED:
            percent = 100 * share
            logger.info("lexical half: labels' names are left out: %.0f%% of documents have a word of them", percent)
            documents, labels = documents[:own], labels[:own]
        recipe = LexicalRecipe(**{field.name: getattr(self, field.name) for field in fields(LexicalRecipe)})
        return learn_lexical_half(terms, documents, labels, recipe, site.seed)

    def _terms(self, encoder: "Encoder", batches: "Batches") -> "Terms":
        import numpy as np
        import torch

        from xmc.model.bag import frequent_bigrams
        from xmc.model.lexical import Terms

        size, bigrams = len(encoder.tokenizer), np.zeros(0, np.int64)
        if not encoder.reads_text:
            return Terms(torch.ones(size), torch.from_numpy(bigrams))
        if self.bigrams:
            bigrams = frequent_bigrams(*batches.flat_tokens(), size, self.bigrams, self.min_documents)
        special = list(encoder.tokenizer.special_ids)
        return Terms.learned(size, bigrams, special, ((b.input_ids, b.attention_mask) for b in _in_order(batches)))

    def learning_bytes(self, documents: int, tokens: int, pairs: int) -> tuple[int, int]:
        """The training documents' rows of terms, and the mean documents of the labels, a block of these at a time."""
        entries = min(_SORTED, 2 * pairs * tokens // max(1, documents))
        return _TERM_BYTES * tokens, _SORTED_BYTES * entries


def _share_with_names(documents: "csr_matrix", labels: "csr_matrix", own: int, seed: int) -> float:
    """Of pairs of a document and one of its labels, the share where it has a term of the label's name.

    documents, labels: of `own` documents and, behind them, of names, each of one label.
    """
    import numpy as np

    name_of = np.full(labels.shape[1], -1)
    name_of[labels[own:].indices] = np.arange(own, labels.shape[0])
    pairs = labels[:own].tocoo()
    named = np.flatnonzero(name_of[pairs.col] >= 0)
    if not len(named):
        return 0.0
    chosen = np.random.default_rng(seed).permutation(named)[:_PAIRS]
    of_names = documents[name_of[pairs.col[chosen]]]
    common = documents[pairs.row[chosen]].multiply(of_names).sum(axis=1)
    return float(np.count_nonzero(common) / len(chosen))


def _in_order(batches: "Batches") -> "Iterator[Batch]":
    import numpy as np

    for start in range(0, len(batches.lengths), _CHUNK):
        yield batches.batch(np.arange(start, min(start + _CHUNK, len(batches.lengths))))
