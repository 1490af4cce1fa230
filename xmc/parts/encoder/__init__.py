"""What makes features of a document: a file here and a line below, or an entry point of the group `xmc.encoder`."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from xmc.errors import XMCError
from xmc.part import Choice, Part, Range, among
from xmc.registry import Registry
from xmc.values import Count, NonNegative, Positive, Share

if TYPE_CHECKING:
    from xmc.data.batches import Batches
    from xmc.data.corpus import Corpus
    from xmc.model.encoder import Encoder
    from xmc.model.sparse_ift import IndexOf, SparseIFT
    from xmc.tokenizer import Tokenizer

TERM_DROPOUTS = 0.0, 0.1, 0.2, 0.3, 0.4
"""That `xmc tune` tries."""


@dataclass(frozen=True)
class EncoderSite:
    """What an encoder is built for.

    corpus: whose training documents it will read. label_texts: the names of labels are among these. words_read: by the
    lexical half, see `LexicalSection`. transformation: what becomes of dense layers inside it; index_of: the first
    connections of a sparse one. cache: folder of what is derived from texts. processes: that tokenise. batch_size: of
    training.
    """

    corpus: "Corpus"
    label_texts: bool
    words_read: int
    transformation: "SparseIFT | None"
    index_of: "IndexOf"
    cache: Path
    processes: int
    batch_size: int

    def batches(self, tokenizer: "Tokenizer", max_length: int) -> "Batches":
        """The training documents as tokens."""
        from xmc.data.batches import Batches
        from xmc.data.tokens import tokenize

        train = self.corpus.split("train")
        tokens = tokenize(train, tokenizer, max_length, self.cache, self.processes)
        return Batches(tokens, train.labels, tokenizer.pad_id, self.batch_size)


@dataclass(frozen=True)
class Bag:
    """An embedding bag, which is the encoder or stands beside it. of_text: over words and bigrams, at most so many, not
    over given features; min_documents: that a bigram must occur in."""

    width: int
    term_dropout: float
    embedding_lr: float
    mlp_width: int = 0
    of_text: bool = True
    bigrams: int = 0
    min_documents: int = 1


class EncoderSection(Part):
    """What makes features of a document.

    reads_numbers: whether documents are sparse features, and not texts. has_feed_forward: whether there are blocks that
    `sparse_ift.layers=encoder` transforms. suits_recipe: whether the recipe was chosen for it.
    """

    reads_numbers: ClassVar[bool] = False
    has_feed_forward: ClassVar[bool] = False
    suits_recipe: ClassVar[bool] = False

    max_length: Count
    dropout: Share
    lr: Positive
    weight_decay: NonNegative

    @property
    def learns(self) -> bool:
        """Whether its network does."""
        return True

    @property
    def bag(self) -> Bag | None:
        """The bag in it."""
        return None

    @abstractmethod
    def build(self, site: EncoderSite) -> "Encoder":
        """The encoder at the first step of a run."""

    @classmethod
    @abstractmethod
    def inherited(cls, trained: "Encoder", folder: str) -> dict[str, Any] | None:
        """The keys that a trained encoder, saved in this folder, decides; None: it is of another kind."""

    def adopt(self, trained: "Encoder") -> "Encoder":
        """A trained encoder, in place, with what it does not decide as it is configured here."""
        from xmc.model.bag import EmbeddingBag

        for module in trained.modules():
            if isinstance(module, EmbeddingBag):
                assert self.bag is not None
                module.config = replace(module.config, term_dropout=self.bag.term_dropout)
        trained.dropout.p, trained.frozen = self.dropout, not self.learns
        if trained.frozen:
            trained.backbone.requires_grad_(False)
        return trained

    def tokenizing(self) -> dict[str, Any]:
        """The keys that decide which tokens a document becomes."""
        return self.model_dump(mode="json")

    def narrow(self) -> "EncoderSection":
        """The same with as narrow a bag as can be, whose terms are the same: they are counted with it."""
        return self

    def most_words(self) -> int:
        """Of its bag, where no text was read."""
        return 0

    def on_meta(
        self, transformation: "SparseIFT | None", again: Callable[[], AbstractContextManager[Any]]
    ) -> "Encoder | None":
        """What there is beside the bag on the meta device, to be measured; None: nothing.

        again: in which activations are computed that the forward pass did not keep.

        Raises:
            XMCError: this is not known.
        """
        if self.bag is None:
            raise XMCError(f"encoder={self.kind} does not tell its size, so that a run with it cannot be estimated")
        return None

    def searched(self) -> Iterator[tuple[str, Choice | Range]]:
        yield "encoder.dropout", among(self.dropout, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


ENCODER = Registry(
    "encoder",
    EncoderSection,
    {
        "bag": "xmc.parts.encoder.bag:BagEncoder",
        "transformer": "xmc.parts.encoder.transformer:TransformerEncoder",
        "sparse_features": "xmc.parts.encoder.sparse_features:SparseFeaturesEncoder",
    },
)
