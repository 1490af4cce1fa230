"""The typed schema of a run, and of one that goes on from a trained model."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from xmc.data import DATA
from xmc.data.formats import DataSection
from xmc.parts.auxiliary import AUXILIARY, AuxiliarySection
from xmc.parts.classifier import CLASSIFIER, ClassifierSection
from xmc.parts.encoder import ENCODER, EncoderSection
from xmc.parts.intermediate import INTERMEDIATE, IntermediateSection
from xmc.parts.lexical import LEXICAL, LexicalSection
from xmc.parts.parametrization import PARAMETRIZATION, ParametrizationSection
from xmc.parts.sparse_ift import SPARSE_IFT, SparseIFTSection
from xmc.parts.tracking import TRACKING, TrackingSection
from xmc.section import Before, Section
from xmc.sparsity import SPARSITY
from xmc.sparsity.strategy import SparsitySection
from xmc.values import Count, Cutoffs, Device, Fraction, LossName, NonNegative, Positive, Seed, Size, Text, Threads

Split = Literal["train", "dev", "test"]
RunData = Annotated[
    dict[str, Any],
    Field(description="any key of the data that is another now: data.root=... where it has moved"),
]


class Trainer(Section):
    """How long, in which steps and where the network learns."""

    epochs: Annotated[float, Field(gt=0, le=1e6)] = 8.0
    """of train; each reads every document once"""
    max_steps: Count | None = None
    """overrides epochs"""
    batch_size: Count = 64
    """documents the classifier sees in one step"""
    micro_batch_size: Count | None = None
    """documents the encoder holds at once; null: the whole batch"""
    schedule: Literal["cosine", "linear", "constant"] = "linear"
    warmup: Fraction = 0.03
    """fraction of the steps"""
    label_texts: Annotated[bool, Before(False)] = False
    """each label's name, unless it has no letter, as one more training document of it"""
    logit_adjustment: Annotated[float, Field(ge=0, le=1), Before(0.0)] = 0.0
    """0 to 1: the larger, the higher rare labels rank; what it costs frequent ones, dev tells"""
    clip_norm: Positive | None = 1.0
    """of the encoder's gradient; null: none"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16: autocast, on a GPU alone, in evaluation too; auto: where the GPU has it (compute capability 8.0)"""
    float32_matmul_precision: Annotated[Literal["highest", "high", "medium"], Before("highest")] = "highest"
    """of products of float32 on a GPU: high takes TF32, medium bfloat16, both faster and coarser"""
    device: Device = "auto"
    threads: Threads | None = None
    """CPU threads; null: one a core that the process may use; resume takes another"""
    log_every: Count = 50
    """steps between two lines"""
    eval_every: Count | None = None
    """steps; null: four to ten times a run, fewer where dev is large"""
    metric: str = "nDCG@5"
    """of the dev split; the best model is kept"""
    patience: Count | None = None
    """evaluations without a gain before stopping early"""
    checkpoint_every: Count | None = None
    """steps; null: as eval_every, or a tenth of the run"""
    keep_last: Count = 1
    """checkpoints"""


class Metrics(Section):
    """What dev and test are measured by."""

    ks: Cutoffs = (1, 3, 5)
    """labels of a document that are looked at: P@1, P@3 ..."""
    propensity_a: Positive = 0.55
    propensity_b: NonNegative = 1.5


class TrainConfig(Section):
    """Everything that decides a run. Learning rates are peaks; fractions are of the total number of steps."""

    run: Text = "runs/${oc.select:data.benchmark.name,${data.kind}}-${encoder.kind}"
    """folder of the run"""
    resume: bool = False
    """go on from the run's last checkpoint"""
    finish: Annotated[Literal["now"] | None, Before(None)] = None
    """now: end the run where its last checkpoint stands, with the best model so far"""
    recipe: Annotated[Literal["auto", "none"], Before("none")] = "auto"
    """auto: keys that nobody sets follow from the data | none: they stay as they stand here"""
    caution: Annotated[Text | None, Before(None)] = None
    """of an experiment: what is said when a run of it starts"""
    seed: Seed = 0
    """same seed and thread count: same model, to the bit on a CPU"""
    loss: LossName = "bce"
    """of each label"""
    trainer: Trainer = Trainer()
    metrics: Metrics = Metrics()
    data: Annotated[DataSection, DATA] = DATA.default("pydoc")
    encoder: Annotated[EncoderSection, ENCODER] = ENCODER.default("bag")
    intermediate: Annotated[IntermediateSection, INTERMEDIATE] = INTERMEDIATE.default("identity")
    classifier: Annotated[ClassifierSection, CLASSIFIER] = CLASSIFIER.default("fixed_fan_in")
    parametrization: Annotated[ParametrizationSection, PARAMETRIZATION] = PARAMETRIZATION.default("standard")
    sparsity: Annotated[SparsitySection, SPARSITY] = SPARSITY.default("set")
    sparse_ift: Annotated[SparseIFTSection, SPARSE_IFT] = SPARSE_IFT.default("none")
    auxiliary: Annotated[AuxiliarySection, AUXILIARY] = AUXILIARY.default("none")
    lexical: Annotated[LexicalSection, LEXICAL, LEXICAL.before("none")] = LEXICAL.default("tree")
    tracking: Annotated[TrackingSection, TRACKING] = TRACKING.default("none")

    @model_validator(mode="after")
    def _encoder_reads_the_data(self) -> "TrainConfig":
        if not (self.data.holds_text or self.encoder.reads_numbers):
            raise ValueError(
                f"data={self.data.kind} holds sparse features, and encoder={self.encoder.kind} reads text; "
                "add encoder=sparse_features"
            )
        if self.encoder.reads_numbers and self.data.holds_text:
            raise ValueError(
                f"encoder={self.encoder.kind} reads the numbers of data=bow, and data={self.data.kind} holds text; "
                "take encoder=bag or transformer"
            )
        return self

    @model_validator(mode="after")
    def _sparse_ift_has_a_layer(self) -> "TrainConfig":
        where = self.sparse_ift.transformed
        if "intermediate" in where and self.intermediate.features is None:
            raise ValueError("sparse_ift transforms an intermediate layer; add intermediate=linear")
        if "encoder" in where:
            self._sparse_encoder_can_learn()
        if where and self.sparsity.learns_beyond_output:
            raise ValueError(
                f"sparse_ift: sparsity={self.sparsity.kind} learns weights that take no part in the output, and only "
                "the classifier can; take sparsity=rigl, set or static"
            )
        return self

    def _sparse_encoder_can_learn(self) -> None:
        if not self.encoder.has_feed_forward:
            raise ValueError(
                f"sparse_ift.layers: encoder={self.encoder.kind} has no feed-forward blocks; "
                "take encoder=transformer, or intermediate"
            )
        if not self.encoder.learns:
            raise ValueError("sparse_ift.layers: a frozen encoder would be pruned and never learn; thaw it")
        if self.sparse_ift.needs_rewiring and not self.sparsity.rewires:
            raise ValueError(
                f"sparse_ift={self.sparse_ift.kind} adds inner features that only a strategy connects; "
                "take sparsity=rigl or set"
            )

    @model_validator(mode="after")
    def _label_texts_are_texts(self) -> "TrainConfig":
        if self.trainer.label_texts and not self.data.holds_text:
            raise ValueError(
                f"trainer.label_texts: data={self.data.kind} holds sparse features, and a name is text; leave it out"
            )
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

    steps: Size = 200
    """0: all learn together from the start"""
    batch_size: Count = 1024
    lr: Positive = 1e-2
    weight_decay: NonNegative = 0.0
    documents: Count = 50_000
    """at most, those with a new label before others; D * 4 bytes of memory each"""


class FinetuneConfig(TrainConfig):
    """A run that starts from a trained model."""

    run: Text = "runs/${oc.select:data.benchmark.name,${data.kind}}-finetuned"
    """folder of the run"""
    source: Annotated[Text, Field(alias="from")]
    """folder of a run or of a saved model"""
    recipe: Annotated[Literal["auto", "none"], Before("none")] = "none"
    """the trained model decides"""
    keep_labels: bool = False
    """labels that no new training document carries stay as they are; false: those the data lacks go"""
    replay: Annotated[Text | None, Before(None)] = None
    """old documents among the new ones, so that the model does not forget: folder of the run that learned from them, or
    of data in the layout of the new"""
    replay_fraction: Annotated[float, Field(gt=0, le=1), Before(1.0)] = 1.0
    """of the old documents, and of their dev and test too"""
    old_data: Annotated[tuple[Annotated[DataSection, DATA], ...], Before(())] = ()
    """filled in: how the run of replay, or of from, reads its data"""
    new_labels: NewLabels = NewLabels()
    """learn first, by themselves, on features of the trained model; then all learn together"""
