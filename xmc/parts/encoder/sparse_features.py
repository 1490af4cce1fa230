"""An embedding bag over features that the data gives."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xmc.part import Choice, Range, among, around
from xmc.parts.encoder import TERM_DROPOUTS, Bag, EncoderSection, EncoderSite
from xmc.values import Count, NonNegative, Positive, Share

if TYPE_CHECKING:
    from xmc.model.encoder import Encoder


class SparseFeaturesEncoder(EncoderSection):
    """An embedding bag over the features of data=bow, their values as weights, trained from scratch."""

    reads_numbers: ClassVar[bool] = True

    kind: Literal["sparse_features"] = "sparse_features"
    width: Count = 1024
    """features that the classifier sees"""
    max_length: Count = 4096
    """of a document; where it has more, those of the largest values"""
    term_dropout: Share = 0.2
    """share of a document's own left out in training"""
    dropout: Share = 0.5
    """of what the classifier sees"""
    lr: Positive = 1e-3
    """of all but the embeddings"""
    embedding_lr: Positive = 0.1
    """of the embeddings (NovoGrad)"""
    weight_decay: NonNegative = 0.0

    @property
    def bag(self) -> Bag:
        return Bag(self.width, self.term_dropout, self.embedding_lr, of_text=False)

    def build(self, site: EncoderSite) -> "Encoder":
        from xmc.model.encoder import Encoder
        from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer

        features = site.corpus.num_features
        assert features is not None
        config = SparseFeaturesConfig(num_features=features, hidden_size=self.width, term_dropout=self.term_dropout)
        tokenizer, model = SparseFeaturesTokenizer(features), SparseFeaturesModel(config)
        return Encoder(model, tokenizer, pooling="none", max_length=self.max_length, dropout=self.dropout)

    @classmethod
    def inherited(cls, trained: "Encoder", folder: str) -> dict[str, Any] | None:
        from xmc.model.sparse_features import SparseFeaturesModel

        if not isinstance(trained.backbone, SparseFeaturesModel):
            return None
        return {"width": trained.backbone.config.hidden_size, "max_length": trained.max_length}

    def tokenizing(self) -> dict[str, Any]:
        return self.model_dump(mode="json", include={"kind", "max_length"})

    def narrow(self) -> "SparseFeaturesEncoder":
        return self.model_copy(update={"width": 1})

    def remedies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield f"encoder.width={self.width // 2}", {"encoder.width": self.width // 2}

    def searched(self) -> Iterator[tuple[str, Choice | Range]]:
        yield from super().searched()
        yield "encoder.width", around(self.width)
        yield "encoder.term_dropout", among(self.term_dropout, *TERM_DROPOUTS)
