"""The typed schema of a run's parts: data, encoder, classifier, strategy, trainer. One class a choice of a group."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xmc.values import (
    Count,
    Cutoffs,
    Fraction,
    NonNegative,
    OneOrMore,
    Positive,
    Seed,
    Size,
    Text,
    Texts,
    Threads,
)

OnError = Literal["error", "skip"]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values are not converted behind the user's back."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class DataSection(Section):
    cache_dir: Text
    processes: Threads
    dev_fraction: Annotated[float, Field(ge=0, lt=1)]


class PydocData(DataSection):
    kind: Literal["pydoc"]
    packages: Texts


class SyntheticData(DataSection):
    kind: Literal["synthetic"]
    num_labels: Count
    num_documents: Count
    num_words: Count
    labels_per_document: Count
    words_per_label: Count
    noise_words: Size
    seed: Seed


class FolderData(DataSection):
    root: Text
    on_error: OnError


class LightXMLData(FolderData):
    kind: Literal["lightxml"]
    raw: bool


class Benchmark(Section):
    """A published set: where it comes from and what it must count, in documents and labels."""

    name: str
    url: Annotated[str, Field(pattern=r"^https?://")] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    home: str
    licence: str
    train: Count
    test: Count
    labels: Count


class BenchmarkData(FolderData):
    benchmark: Benchmark | None


class Files(Section):
    """Of each split; null: the one that is named after it."""

    train: Text | None = None
    dev: Text | None = None
    test: Text | None = None

    def given(self) -> dict[str, str]:
        return self.model_dump(exclude_none=True)


class TableData(BenchmarkData):
    kind: Literal["jsonl", "csv", "tsv", "parquet"]
    on_error: OnError = "error"  # where the configuration of an older run has none, nor the next
    benchmark: Benchmark | None = None
    files: Files = Files()
    text_fields: Annotated[Texts, Field(min_length=1)]
    text_separator: str
    id_field: str | None
    label_field: str
    label_separator: Text


class RepositoryData(BenchmarkData):
    kind: Literal["repository"]
    text_fields: Annotated[Texts, Field(min_length=1)]
    text_separator: str
    id_field: str | None


class PecosData(BenchmarkData):
    kind: Literal["pecos"]


class BowData(FolderData):
    kind: Literal["bow"]
    files: Files = Files()


class AnnifData(FolderData):
    kind: Literal["annif"]
    files: Files = Files()
    vocabulary: str | None


Data = Annotated[
    PydocData | SyntheticData | TableData | LightXMLData | RepositoryData | PecosData | AnnifData | BowData,
    Field(discriminator="kind"),
]


class EncoderSection(Section):
    max_length: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    lr: Positive
    weight_decay: NonNegative


class BagEncoder(EncoderSection):
    kind: Literal["bag"]
    width: Count
    vocab_size: Count
    min_frequency: Count
    bigrams: Size
    min_documents: Count
    term_dropout: Annotated[float, Field(ge=0, lt=1)]
    mlp_width: Size
    embedding_lr: Positive


class SparseFeaturesEncoder(EncoderSection):
    kind: Literal["sparse_features"]
    width: Count
    term_dropout: Annotated[float, Field(ge=0, lt=1)]
    embedding_lr: Positive


class Lexical(Section):
    width: Size
    bigrams: Size
    min_documents: Count
    term_dropout: Annotated[float, Field(ge=0, lt=1)]
    embedding_lr: Positive


class TransformerEncoder(EncoderSection):
    kind: Literal["transformer"]
    name: Text
    pooling: Literal["cls", "mean"]
    layers: Count
    backbone_dropout: Annotated[float, Field(ge=0, lt=1)] | None
    lexical: Lexical
    frozen: bool
    activation_checkpointing: bool


class IdentityIntermediate(Section):
    kind: Literal["identity"]


class LinearIntermediate(Section):
    kind: Literal["linear"]
    width: Count
    activation: Literal["relu", "gelu", "silu", "tanh"]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class AdamW(Section):
    kind: Literal["adamw"]
    lr: Positive
    weight_decay: NonNegative


class SGD(Section):
    kind: Literal["sgd"]
    lr: Positive
    weight_decay: NonNegative
    momentum: Annotated[float, Field(ge=0, lt=1)]


ClassifierOptimizer = Annotated[AdamW | SGD, Field(discriminator="kind")]


class FixedFanInClassifier(Section):
    kind: Literal["fixed_fan_in"]
    fan_in: Count
    group_size: Count
    head: Annotated[float, Field(ge=0, lt=1)]
    weight_dtype: Literal["float32", "bfloat16"]
    backend: Literal["auto", "numba", "triton", "torch", "reference"]
    optimizer: ClassifierOptimizer

    @model_validator(mode="after")
    def _bfloat16_learns_in_place(self) -> "FixedFanInClassifier":
        if self.weight_dtype == "bfloat16" and not (isinstance(self.optimizer, SGD) and self.optimizer.momentum == 0):
            raise ValueError(
                "classifier.weight_dtype=bfloat16 needs an update that rounds stochastically, which only SGD in place "
                "has; add classifier/optimizer=sgd with classifier.optimizer.momentum=0, or take float32"
            )
        return self


class DenseClassifier(Section):
    kind: Literal["dense"]
    optimizer: ClassifierOptimizer


class StandardParametrization(Section):
    kind: Literal["standard"]


class SuParParametrization(Section):
    kind: Literal["supar"]
    base_fan_in: Count
    base_width: Count
    exponent: Fraction


class StaticSparsity(Section):
    kind: Literal["static"]


class SetSparsity(Section):
    kind: Literal["set"]
    drop: Literal["fraction", "threshold"]
    initial: Fraction
    interval: Count | None
    stop: Fraction


class RigLSparsity(Section):
    kind: Literal["rigl"]
    initial: Fraction
    interval: Count | None
    stop: Fraction
    candidates: Literal["all", "sample"]
    batches: Count


class TopKastSparsity(Section):
    kind: Literal["topkast"]
    backward: Annotated[float, Field(ge=1)]
    refresh: Count | None
    penalty: NonNegative
    store: Literal["host", "mapped", "implicit"]


Sparsity = Annotated[StaticSparsity | SetSparsity | RigLSparsity | TopKastSparsity, Field(discriminator="kind")]


class NoSparseIFT(Section):
    kind: Literal["none"]


class SparseIFT(Section):
    kind: Literal["wide", "parallel", "factorized", "doped"]
    sparsity: Annotated[float, Field(ge=0, lt=1)]
    layers: Annotated[tuple[Literal["intermediate", "encoder"], ...], Field(min_length=1), OneOrMore]


class NoAuxiliary(Section):
    kind: Literal["none"]


class ClustersAuxiliary(Section):
    kind: Literal["clusters"]
    leaf_size: Count
    weight: Annotated[float, Field(ge=0, lt=1)]
    until: Fraction
    lr: Positive


class Trainer(Section):
    epochs: Annotated[float, Field(gt=0, le=1e6)]
    max_steps: Count | None
    batch_size: Count
    micro_batch_size: Count | None
    schedule: Literal["cosine", "linear", "constant"]
    warmup: Fraction
    clip_norm: Positive | None
    precision: Literal["auto", "float32", "bfloat16"]
    device: str
    threads: Threads | None
    label_texts: bool = False  # runs from before there was such a key have none
    logit_adjustment: Annotated[float, Field(ge=0, le=1)] = 0.0  # likewise
    log_every: Count
    eval_every: Count | None
    metric: str
    patience: Count | None
    checkpoint_every: Count | None
    keep_last: Count


class Metrics(Section):
    ks: Cutoffs
    propensity_a: Positive
    propensity_b: NonNegative


class NoLexical(Section):
    kind: Literal["none"]


class TreeLexical(Section):
    kind: Literal["tree"]
    words: Size = 0  # runs from before there was such a key have those of the encoder
    bigrams: Size
    min_documents: Count
    centroid_terms: Count
    leaf_size: Count
    start: NonNegative
    cost: Positive
    passes: Count
    threshold: NonNegative


class NoTracking(Section):
    kind: Literal["none"]


class WandbTracking(Section):
    kind: Literal["wandb"]
    mode: Literal["online", "offline"]
    project: str
    name: str | None
