"""An embedding bag over words and bigrams."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xmc.part import Choice, Range, among, around
from xmc.parts.encoder import TERM_DROPOUTS, Bag, EncoderSection, EncoderSite
from xmc.values import Count, NonNegative, Positive, Share, Size

if TYPE_CHECKING:
    from xmc.data.corpus import Split
    from xmc.model.encoder import Encoder
    from xmc.model.word_tokenizer import WordTokenizer

logger = logging.getLogger(__name__)


class BagEncoder(EncoderSection):
    """An embedding bag over words and bigrams, trained from scratch: no GPU, no download."""

    suits_recipe: ClassVar[bool] = True

    kind: Literal["bag"] = "bag"
    width: Count = 1024
    """features"""
    max_length: Count = 512
    """words of a document"""
    vocab_size: Count = 100_000
    """words, at most"""
    min_frequency: Count = 2
    """of a word; lexical.words has rarer ones, too"""
    bigrams: Size = 100_000
    """at most"""
    min_documents: Count = 2
    """that a bigram must occur in"""
    term_dropout: Share = 0.2
    """share of a document's terms left out in training"""
    dropout: Share = 0.5
    """of the features"""
    mlp_width: Size = 0
    """inside a residual layer after the bag; 0: none"""
    lr: Positive = 1e-3
    """of all but the embeddings"""
    embedding_lr: Positive = 0.1
    """of the embeddings (NovoGrad)"""
    weight_decay: NonNegative = 0.0

    @property
    def bag(self) -> Bag:
        return Bag(
            self.width,
            self.term_dropout,
            self.embedding_lr,
            mlp_width=self.mlp_width,
            bigrams=self.bigrams,
            min_documents=self.min_documents,
        )

    def build(self, site: EncoderSite) -> "Encoder":
        """Tokenizer, bigrams and document frequencies are learned from the training texts.

        A lexical half reads what an embedding cannot use: words that stand once, or in the labels' names alone.
        """
        from xmc.model.encoder import Encoder
        from xmc.model.word_tokenizer import NUM_SPECIAL, scripts_of
        from xmc.parts.encoder.terms import build_bag

        words, frequency, read, embedded = self.vocab_size, self.min_frequency, site.corpus, None
        if site.words_read:
            embedded = words, frequency
            words, frequency = max(words, site.words_read), 1
            read = read if site.label_texts else read.with_label_texts()
        tokenizer = _word_tokenizer(read.split("train"), words, frequency, site.cache)
        scripts = ", ".join(f"{script} {words:,}" for script, words in scripts_of(tokenizer.vocabulary).most_common(8))
        logger.info("%d words, by script: %s", len(tokenizer) - NUM_SPECIAL, scripts)
        model = build_bag(self.bag, tokenizer, site, self.max_length, embedded)
        return Encoder(model, tokenizer, pooling="none", max_length=self.max_length, dropout=self.dropout)

    @classmethod
    def inherited(cls, trained: "Encoder", folder: str) -> dict[str, Any] | None:
        from xmc.model.bag import BagModel

        if not isinstance(trained.backbone, BagModel):
            return None
        shape = trained.backbone.config
        settings = {"width": shape.hidden_size, "mlp_width": shape.intermediate_size, "vocab_size": shape.word_rows}
        return settings | {"bigrams": shape.num_bigrams, "max_length": trained.max_length}

    def tokenizing(self) -> dict[str, Any]:
        return self.model_dump(mode="json", include={"kind", "max_length", "vocab_size", "min_frequency"})

    def narrow(self) -> "BagEncoder":
        return self.model_copy(update={"width": 1})

    def most_words(self) -> int:
        return self.vocab_size

    def remedies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield f"encoder.bigrams={self.bigrams // 4}", {"encoder.bigrams": self.bigrams // 4}
        yield f"encoder.width={self.width // 2}", {"encoder.width": self.width // 2}

    def searched(self) -> Iterator[tuple[str, Choice | Range]]:
        yield from super().searched()
        yield "encoder.width", around(self.width)
        yield "encoder.term_dropout", among(self.term_dropout, *TERM_DROPOUTS)
        yield "encoder.bigrams", among(self.bigrams, 0, 3 * self.bigrams or 100_000)


def _word_tokenizer(split: "Split", size: int, frequency: int, cache: Path) -> "WordTokenizer":
    """The tokenizer of these texts, learned once and read from the cache from then on."""
    from xmc.data.cache import cached
    from xmc.model.word_tokenizer import WordTokenizer, recipe

    digest = hashlib.blake2b(f"{split.fingerprint} {size} {frequency} {recipe()}".encode(), digest_size=16).hexdigest()

    def make(folder: Path) -> None:
        WordTokenizer.learned(split.texts, size, frequency).save(folder)

    return cached(cache / f"tokenizer-{digest}", make, WordTokenizer.load)
