"""The parts of a run: what can be chosen for each, with its keys, their defaults and what they mean."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xmc.registry import Registry
from xmc.section import Before, Section
from xmc.values import (
    Count,
    Cutoffs,
    Fraction,
    NonNegative,
    OneOrMore,
    Positive,
    Share,
    Size,
    Text,
    Threads,
)


class EncoderSection(Section):
    """What makes features of a document."""

    kind: str
    max_length: Count
    dropout: Share
    lr: Positive
    weight_decay: NonNegative


class BagEncoder(EncoderSection):
    """An embedding bag over words and bigrams, trained from scratch: no GPU, no download."""

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


class SparseFeaturesEncoder(EncoderSection):
    """An embedding bag over the features of data=bow, their values as weights, trained from scratch."""

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


ENCODER = Registry(
    "encoder",
    EncoderSection,
    {
        "bag": "xmc.config.parts:BagEncoder",
        "transformer": "xmc.config.parts:TransformerEncoder",
        "sparse_features": "xmc.config.parts:SparseFeaturesEncoder",
    },
)


class IntermediateSection(Section):
    """What stands between the encoder and the classifier."""

    kind: str


class IdentityIntermediate(IntermediateSection):
    """Nothing."""

    kind: Literal["identity"] = "identity"


class LinearIntermediate(IntermediateSection):
    """One wide non-linear layer between the encoder and the classifier; it learns at the encoder's rate."""

    kind: Literal["linear"] = "linear"
    width: Count = 4096
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    dropout: Share = 0.0


INTERMEDIATE = Registry(
    "intermediate",
    IntermediateSection,
    {"identity": "xmc.config.parts:IdentityIntermediate", "linear": "xmc.config.parts:LinearIntermediate"},
)


class OptimizerSection(Section):
    """How the classifier's weights learn."""

    kind: str
    lr: Positive
    weight_decay: NonNegative


class AdamW(OptimizerSection):
    kind: Literal["adamw"] = "adamw"
    lr: Positive = 5e-3
    weight_decay: NonNegative = 0.0


class SGD(OptimizerSection):
    kind: Literal["sgd"] = "sgd"
    lr: Positive = 0.3
    weight_decay: NonNegative = 0.0
    momentum: Share = 0.0
    """0: updated in place, without gradients or state"""


OPTIMIZER = Registry(
    "classifier/optimizer", OptimizerSection, {"adamw": "xmc.config.parts:AdamW", "sgd": "xmc.config.parts:SGD"}
)


class ClassifierSection(Section):
    """What makes a score of each label."""

    kind: str
    optimizer: Annotated[AdamW | SGD, OPTIMIZER]


class FixedFanInClassifier(ClassifierSection):
    """Each label keeps fan_in connections out of the features' width."""

    kind: Literal["fixed_fan_in"] = "fixed_fan_in"
    fan_in: Count = 128
    group_size: Count = 1
    """similar labels that share their connections; 16 to 64 are faster, 1 is the most accurate"""
    head: Share = 0.0
    """share of the labels, the most frequent ones, that see every feature; an alternative to auxiliary"""
    weight_dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: half the memory; needs classifier/optimizer=sgd"""
    backend: Literal["auto", "numba", "triton", "torch", "reference"] = "auto"
    optimizer: Annotated[AdamW | SGD, OPTIMIZER] = OPTIMIZER.default("adamw")

    @model_validator(mode="after")
    def _bfloat16_learns_in_place(self) -> "FixedFanInClassifier":
        if self.weight_dtype == "bfloat16" and not (isinstance(self.optimizer, SGD) and self.optimizer.momentum == 0):
            raise ValueError(
                "classifier.weight_dtype=bfloat16 needs an update that rounds stochastically, which only SGD in place "
                "has; add classifier/optimizer=sgd with classifier.optimizer.momentum=0, or take float32"
            )
        return self


class DenseClassifier(ClassifierSection):
    """The baseline: every label sees every feature."""

    kind: Literal["dense"] = "dense"
    optimizer: Annotated[AdamW | SGD, OPTIMIZER] = OPTIMIZER.default("adamw", lr=1.25e-3)
    """many features a label want a smaller rate than few"""


CLASSIFIER = Registry(
    "classifier",
    ClassifierSection,
    {"fixed_fan_in": "xmc.config.parts:FixedFanInClassifier", "dense": "xmc.config.parts:DenseClassifier"},
)


class ParametrizationSection(Section):
    """How initial weights and learning rates follow the number of connections."""

    kind: str


class StandardParametrization(ParametrizationSection):
    """The same learning rates whatever the fan-in."""

    kind: Literal["standard"] = "standard"


class SuParParametrization(ParametrizationSection):
    """SmuPar: learning rates chosen at one fan-in serve another. Check with: xmc coordinate-check"""

    kind: Literal["supar"] = "supar"
    base_fan_in: Count = 128
    """connections of a label for which the classifier's learning rate was chosen"""
    base_width: Count = 1024
    """inputs of the intermediate layer for which the encoder's learning rate was chosen"""
    exponent: Fraction = 1.0
    """learning rate times (fan_in / base_fan_in)^-exponent; 0.5 to 1 where connections are rewired"""


PARAMETRIZATION = Registry(
    "parametrization",
    ParametrizationSection,
    {"standard": "xmc.config.parts:StandardParametrization", "supar": "xmc.config.parts:SuParParametrization"},
)


class SparseIFTSection(Section):
    """What becomes of the dense layers."""

    kind: str


class NoSparseIFT(SparseIFTSection):
    """Dense layers stay dense."""

    kind: Literal["none"] = "none"


class SparseIFT(SparseIFTSection):
    """A dense layer becomes sparse ones of as many multiply-adds: xmc flops"""

    kind: Literal["wide", "parallel", "factorized", "doped"]
    sparsity: Share = 0.5
    """share of the connections left out"""
    layers: Annotated[tuple[Literal["intermediate", "encoder"], ...], Field(min_length=1), OneOrMore] = (
        "intermediate",
    )
    """intermediate | encoder (a transformer's feed-forward blocks)"""


class WideSparseIFT(SparseIFT):
    """The layer becomes 1 / (1 - sparsity) times as wide, and sparse. As many multiply-adds as before: xmc flops"""

    kind: Literal["wide"] = "wide"


class ParallelSparseIFT(SparseIFT):
    """1 / (1 - sparsity) sparse branches of the layer's size, summed. As many multiply-adds as before: xmc flops"""

    kind: Literal["parallel"] = "parallel"


class FactorizedSparseIFT(SparseIFT):
    """Two sparse layers with a non-linearity between them. As many multiply-adds as before: xmc flops"""

    kind: Literal["factorized"] = "factorized"


class DopedSparseIFT(SparseIFT):
    """A dense low-rank part beside a sparse one. As many multiply-adds as before: xmc flops"""

    kind: Literal["doped"] = "doped"


SPARSE_IFT = Registry(
    "sparse_ift",
    SparseIFTSection,
    {
        "none": "xmc.config.parts:NoSparseIFT",
        "wide": "xmc.config.parts:WideSparseIFT",
        "parallel": "xmc.config.parts:ParallelSparseIFT",
        "factorized": "xmc.config.parts:FactorizedSparseIFT",
        "doped": "xmc.config.parts:DopedSparseIFT",
    },
)


class AuxiliarySection(Section):
    """What the encoder learns beside the labels."""

    kind: str


class NoAuxiliary(AuxiliarySection):
    """Nothing."""

    kind: Literal["none"] = "none"


class ClustersAuxiliary(AuxiliarySection):
    """A dense head that predicts clusters of similar labels.

    It carries gradient to the encoder while the sparse layer is poor.
    """

    kind: Literal["clusters"] = "clusters"
    leaf_size: Count = 100
    """labels a cluster, about"""
    weight: Share = 0.4
    """a in (1 - a) * main + a * auxiliary, falling by cosine to 0"""
    until: Fraction = 0.15
    """of the training steps"""
    lr: Positive = 5e-3


AUXILIARY = Registry(
    "auxiliary",
    AuxiliarySection,
    {"none": "xmc.config.parts:NoAuxiliary", "clusters": "xmc.config.parts:ClustersAuxiliary"},
)


class LexicalSection(Section):
    """What stands beside the network."""

    kind: str


class NoLexical(LexicalSection):
    """Nothing."""

    kind: Literal["none"] = "none"


class TreeLexical(LexicalSection):
    """Linear classifiers in a tree, and the labels' centroids, over TF-IDF of words and bigrams.

    They learn when the network has; how much each of the three counts is fitted on dev.
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
    passes: Count = 5
    """over the documents of a node"""
    threshold: NonNegative = 0.05
    """smaller weights are dropped"""


LEXICAL = Registry(
    "lexical", LexicalSection, {"none": "xmc.config.parts:NoLexical", "tree": "xmc.config.parts:TreeLexical"}
)


class TrackingSection(Section):
    """Where a run is followed, beside its local log."""

    kind: str


class NoTracking(TrackingSection):
    """Nowhere."""

    kind: Literal["none"] = "none"


class WandbTracking(TrackingSection):
    """Weights & Biases, beside the local log (pip install xmc[wandb])."""

    kind: Literal["wandb"] = "wandb"
    mode: Literal["online", "offline"] = "online"
    project: str = "xmc"
    name: str | None = None


TRACKING = Registry(
    "tracking", TrackingSection, {"none": "xmc.config.parts:NoTracking", "wandb": "xmc.config.parts:WandbTracking"}
)


class Trainer(Section):
    """How long, in which steps and where the network learns."""

    epochs: Annotated[float, Field(gt=0, le=1e6)] = 8.0
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
    """bfloat16: autocast, on a GPU alone"""
    device: str = "auto"
    """auto | cpu | cuda | cuda:0 ..."""
    threads: Threads | None = None
    """CPU threads; null: one a core that the process may use; resume takes another"""
    log_every: Count = 50
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
    propensity_a: Positive = 0.55
    propensity_b: NonNegative = 1.5
