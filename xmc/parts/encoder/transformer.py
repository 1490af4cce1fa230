"""A pretrained transformer, maybe with a bag beside it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xmc.endings import undisturbed
from xmc.part import Choice, Range, among
from xmc.parts.encoder import TERM_DROPOUTS, Bag, EncoderSection, EncoderSite
from xmc.section import Section
from xmc.values import Count, NonNegative, Positive, Share, Size, Text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from xmc.model.bag import BagModel
    from xmc.model.encoder import Encoder
    from xmc.model.sparse_ift import SparseIFT
    from xmc.tokenizer import Tokenizer


class Lexical(Section):
    """A bag of the text's word pieces and bigrams beside a transformer, as in encoder=bag."""

    width: Size = 0
    """its features; 0: none"""
    bigrams: Size = 100_000
    min_documents: Count = 2
    term_dropout: Share = 0.2
    embedding_lr: Positive = 0.1


class TransformerEncoder(EncoderSection):
    """Any Hugging Face encoder."""

    has_feed_forward: ClassVar[bool] = True

    kind: Literal["transformer"] = "transformer"
    name: Text
    """hub id or folder"""
    pooling: Literal["cls", "mean"] = "mean"
    layers: Count = 1
    """the last hidden states joined; 5 in LightXML"""
    max_length: Count = 128
    """tokens"""
    dropout: Share = 0.1
    """of the pooled features"""
    backbone_dropout: Share | None = None
    """inside the encoder; null: as it was pretrained; 0 is faster on a CPU"""
    frozen: bool = False
    activation_checkpointing: bool = False
    lr: Positive = 5e-5
    weight_decay: NonNegative = 0.01
    lexical: Lexical = Lexical()

    @property
    def learns(self) -> bool:
        return not self.frozen

    @property
    def bag(self) -> Bag | None:
        of = self.lexical
        if not of.width:
            return None
        return Bag(of.width, of.term_dropout, of.embedding_lr, bigrams=of.bigrams, min_documents=of.min_documents)

    def build(self, site: EncoderSite) -> "Encoder":
        with undisturbed():
            from xmc.model.huggingface import load_backbone
        from xmc.model.encoder import fitting_length
        from xmc.model.sparse_ift import sparsify_feed_forward_
        from xmc.parts.encoder.terms import build_bag

        backbone, tokenizer = load_backbone(self.name, self.backbone_dropout)
        if self.activation_checkpointing:
            _checkpoint_activations(backbone)
        if site.transformation is not None:
            sparsify_feed_forward_(backbone, site.transformation, site.index_of)
        max_length = fitting_length(backbone, self.max_length)
        lexical = None if self.bag is None else build_bag(self.bag, tokenizer, site, max_length)
        return self._around(backbone, tokenizer, max_length, site.transformation, lexical)

    def _around(
        self,
        backbone: "PreTrainedModel",
        tokenizer: "Tokenizer",
        max_length: int,
        transformation: "SparseIFT | None",
        lexical: "BagModel | None" = None,
    ) -> "Encoder":
        from xmc.model.encoder import Encoder

        return Encoder(
            backbone,
            tokenizer,
            pooling=self.pooling,
            max_length=max_length,
            layers=self.layers,
            dropout=self.dropout,
            frozen=self.frozen,
            transformation=transformation,
            lexical=lexical,
        )

    @classmethod
    def inherited(cls, trained: "Encoder", folder: str) -> dict[str, Any] | None:
        from xmc.model.bag import EmbeddingBag

        if isinstance(trained.backbone, EmbeddingBag):
            return None
        settings = {"name": folder, "pooling": trained.pooling, "layers": trained.layers, "backbone_dropout": None}
        settings |= {"max_length": trained.max_length, "lexical.width": 0}
        if trained.lexical is not None:
            shape = trained.lexical.config
            settings |= {"lexical.width": shape.hidden_size, "lexical.bigrams": shape.num_bigrams}
        return settings

    def adopt(self, trained: "Encoder") -> "Encoder":
        if self.activation_checkpointing:
            _checkpoint_activations(trained.backbone)
        return super().adopt(trained)

    def tokenizing(self) -> dict[str, Any]:
        return self.model_dump(mode="json", include={"kind", "name", "max_length"})

    def narrow(self) -> "TransformerEncoder":
        return self.model_copy(update={"lexical": self.lexical.model_copy(update={"width": 1})})

    def most_words(self) -> int:
        with undisturbed():
            from xmc.model.huggingface import meta_backbone

        return int(meta_backbone(self.name).config.vocab_size)

    def on_meta(
        self, transformation: "SparseIFT | None", again: Callable[[], AbstractContextManager[Any]]
    ) -> "Encoder":
        with undisturbed():
            from xmc.model.huggingface import meta_backbone
        import torch

        from xmc.model.sparse_ift import no_connections, sparsify_feed_forward_

        backbone = meta_backbone(self.name, self.backbone_dropout)
        if self.activation_checkpointing:
            of_both_passes = {"context_fn": lambda: (nullcontext(), again()), "preserve_rng_state": False}
            _checkpoint_activations(backbone, **of_both_passes)
        with torch.device("meta"):
            if transformation is not None:
                sparsify_feed_forward_(backbone, transformation, no_connections, keep=False)
            nothing_is_tokenised: Any = None
            return self._around(backbone, nothing_is_tokenised, self.max_length, transformation)

    def remedies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield f"encoder.max_length={self.max_length // 2}", {"encoder.max_length": self.max_length // 2}
        yield "encoder.activation_checkpointing=true", {"encoder.activation_checkpointing": True}
        yield "encoder.frozen=true", {"encoder.frozen": True}

    def searched(self) -> Iterator[tuple[str, Choice | Range]]:
        yield from super().searched()
        yield "encoder.lr", Range(self.lr / 4, self.lr * 4)
        if self.bag is not None:
            yield "encoder.lexical.term_dropout", among(self.lexical.term_dropout, *TERM_DROPOUTS)


def _checkpoint_activations(backbone: Any, **options: object) -> None:
    """Keep no activations inside the backbone; compute them again in the backward pass."""
    backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False, **options})
