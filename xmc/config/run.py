"""The typed schema of a run, and of one that goes on from a trained model."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from xmc.config.parts import (
    BagEncoder,
    ClustersAuxiliary,
    Data,
    DenseClassifier,
    FixedFanInClassifier,
    IdentityIntermediate,
    LinearIntermediate,
    Metrics,
    NoAuxiliary,
    NoLexical,
    NoSparseIFT,
    NoTracking,
    Section,
    SparseFeaturesEncoder,
    SparseIFT,
    Sparsity,
    StandardParametrization,
    SuParParametrization,
    Trainer,
    TransformerEncoder,
    TreeLexical,
    WandbTracking,
)
from xmc.values import Count, LossName, NonNegative, Positive, Seed, Size, Text

Split = Literal["train", "dev", "test"]
RunData = dict[str, Any]
"""What is another now in the data section of a run: its root, where it moved."""


class TrainConfig(Section):
    """Everything that decides a run. Learning rates are peaks; fractions are of the total number of steps."""

    run: Text
    resume: bool
    recipe: Literal["auto", "none"] = "none"  # of runs from before there was one
    seed: Seed
    loss: LossName
    data: Data
    encoder: Annotated[BagEncoder | TransformerEncoder | SparseFeaturesEncoder, Field(discriminator="kind")]
    intermediate: Annotated[IdentityIntermediate | LinearIntermediate, Field(discriminator="kind")]
    classifier: Annotated[FixedFanInClassifier | DenseClassifier, Field(discriminator="kind")]
    parametrization: Annotated[StandardParametrization | SuParParametrization, Field(discriminator="kind")]
    sparse_ift: Annotated[NoSparseIFT | SparseIFT, Field(discriminator="kind")]
    sparsity: Sparsity
    auxiliary: Annotated[NoAuxiliary | ClustersAuxiliary, Field(discriminator="kind")]
    lexical: Annotated[NoLexical | TreeLexical, Field(discriminator="kind")] = NoLexical(kind="none")  # older runs
    trainer: Trainer
    metrics: Metrics
    tracking: Annotated[NoTracking | WandbTracking, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _encoder_reads_the_data(self) -> "TrainConfig":
        numbers, reads_numbers = self.data.kind == "bow", self.encoder.kind == "sparse_features"
        if numbers and not reads_numbers:
            raise ValueError(
                f"data=bow holds sparse features, and encoder={self.encoder.kind} reads text; "
                "add encoder=sparse_features"
            )
        if reads_numbers and not numbers:
            raise ValueError(
                f"encoder=sparse_features reads the numbers of data=bow, and data={self.data.kind} holds text; take "
                "encoder=bag or transformer"
            )
        return self

    @model_validator(mode="after")
    def _sparse_ift_has_a_layer(self) -> "TrainConfig":
        if isinstance(self.sparse_ift, NoSparseIFT):
            return self
        if "intermediate" in self.sparse_ift.layers and self.intermediate.kind != "linear":
            raise ValueError("sparse_ift transforms an intermediate layer; add intermediate=linear")
        if "encoder" in self.sparse_ift.layers and self.encoder.kind != "transformer":
            raise ValueError(
                f"sparse_ift.layers: encoder={self.encoder.kind} has no feed-forward blocks; "
                "take encoder=transformer, or intermediate"
            )
        if "encoder" in self.sparse_ift.layers:
            self._sparse_encoder_can_learn(self.sparse_ift.kind)
        if self.sparsity.kind == "topkast":
            raise ValueError(
                "sparse_ift: sparsity=topkast learns weights that take no part in the output, and only the classifier "
                "can; take sparsity=rigl, set or static"
            )
        return self

    def _sparse_encoder_can_learn(self, kind: str) -> None:
        if isinstance(self.encoder, TransformerEncoder) and self.encoder.frozen:
            raise ValueError("sparse_ift.layers: a frozen encoder would be pruned and never learn; thaw it")
        if self.sparsity.kind == "static" and kind != "doped":
            raise ValueError(
                f"sparse_ift={kind} adds inner features that only a strategy connects; take sparsity=rigl or set"
            )

    @model_validator(mode="after")
    def _label_texts_are_texts(self) -> "TrainConfig":
        if self.trainer.label_texts and self.data.kind == "bow":
            raise ValueError("trainer.label_texts: data=bow holds sparse features, and a name is text; leave it out")
        return self

    @model_validator(mode="after")
    def _loss_has_logits(self) -> "TrainConfig":
        if self.trainer.logit_adjustment and self.loss != "bce":
            raise ValueError(
                f"trainer.logit_adjustment adjusts log-odds, and loss={self.loss} has none; take loss=bce, or 0"
            )
        return self

    @model_validator(mode="after")
    def _micro_batch_fits(self) -> "TrainConfig":
        micro = self.trainer.micro_batch_size
        if micro is not None and micro > self.trainer.batch_size:
            raise ValueError(
                f"trainer.micro_batch_size={micro} is larger than trainer.batch_size={self.trainer.batch_size}; "
                "set it to at most the batch size, or to null for one pass"
            )
        return self


class NewLabels(Section):
    """How the rows of new labels are learned on features that stay as they are."""

    steps: Size
    batch_size: Count
    lr: Positive
    weight_decay: NonNegative
    documents: Count


class FinetuneConfig(TrainConfig):
    """A run that starts from a trained model. source: its folder, or that of the run that trained it.

    replay: where the old documents are that learn too, so large a fraction of them. old_data: how they are read or,
    without replay, those that the source learned from, to see what it forgets. Older runs have none of the three.
    """

    source: Annotated[Text, Field(alias="from")]
    keep_labels: bool
    new_labels: NewLabels
    replay: Text | None = None
    replay_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    old_data: tuple[Data, ...] = ()
