"""The typed schema of a run and every check at the door.

Hydra composes the YAML files of `conf/`; `parse` turns the result into these frozen models or raises one
`XMCError` that lists all mistakes at once, each with its near miss.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xmc.types import LossName, XMCError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values are not converted behind the user's back."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DataSection(Section):
    cache_dir: str
    processes: Count
    dev_fraction: Annotated[float, Field(ge=0, lt=1)]


class PydocData(DataSection):
    kind: Literal["pydoc"]
    packages: tuple[str, ...]


class TableData(DataSection):
    kind: Literal["jsonl", "csv", "tsv", "parquet"]
    root: str
    files: dict[str, str]
    text_fields: Annotated[tuple[str, ...], Field(min_length=1)]
    text_separator: str
    id_field: str | None
    label_field: str
    label_separator: str


class LightXMLData(DataSection):
    kind: Literal["lightxml"]
    root: str


class EncoderSection(Section):
    max_length: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    lr: Positive
    weight_decay: NonNegative


class BagEncoder(EncoderSection):
    kind: Literal["bag"]
    width: Count
    vocab_size: Count
    bigrams: Annotated[int, Field(ge=0)]
    min_documents: Count
    term_dropout: Annotated[float, Field(ge=0, lt=1)]
    mlp_width: Annotated[int, Field(ge=0)]
    embedding_lr: Positive


class TransformerEncoder(EncoderSection):
    kind: Literal["transformer"]
    name: str
    pooling: Literal["cls", "mean"]
    layers: Count
    backbone_dropout: Annotated[float, Field(ge=0, lt=1)] | None
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
    interval: Count
    stop: Fraction


class RigLSparsity(Section):
    kind: Literal["rigl"]
    initial: Fraction
    interval: Count
    stop: Fraction
    candidates: Literal["all", "sample"]
    batches: Count


class TopKastSparsity(Section):
    kind: Literal["topkast"]
    backward: Annotated[float, Field(ge=1)]
    refresh: Count
    penalty: NonNegative
    store: Literal["host", "mapped", "implicit"]


class NoSparseIFT(Section):
    kind: Literal["none"]


class SparseIFT(Section):
    kind: Literal["wide", "parallel", "factorized", "doped"]
    sparsity: Annotated[float, Field(ge=0, lt=1)]
    layers: Annotated[tuple[Literal["intermediate", "encoder"], ...], Field(min_length=1)]


class NoAuxiliary(Section):
    kind: Literal["none"]


class ClustersAuxiliary(Section):
    kind: Literal["clusters"]
    leaf_size: Count
    weight: Annotated[float, Field(ge=0, lt=1)]
    until: Fraction
    lr: Positive


class Trainer(Section):
    epochs: Positive
    max_steps: Count | None
    batch_size: Count
    micro_batch_size: Count | None
    schedule: Literal["cosine", "linear", "constant"]
    warmup: Fraction
    clip_norm: Positive | None
    precision: Literal["auto", "float32", "bfloat16"]
    device: str
    threads: Count | None
    log_every: Count
    eval_every: Count | None
    metric: str
    patience: Count | None
    checkpoint_every: Count | None
    keep_last: Count


class Metrics(Section):
    ks: Annotated[tuple[Count, ...], Field(min_length=1)]
    propensity_a: Positive
    propensity_b: NonNegative


class NoTracking(Section):
    kind: Literal["none"]


class WandbTracking(Section):
    kind: Literal["wandb"]
    mode: Literal["online", "offline"]
    project: str
    name: str | None


class TrainConfig(Section):
    """Everything that decides a run. Learning rates are peaks; fractions are of the total number of steps."""

    run: str
    resume: bool
    seed: Annotated[int, Field(ge=0)]
    loss: LossName
    data: Annotated[PydocData | TableData | LightXMLData, Field(discriminator="kind")]
    encoder: Annotated[BagEncoder | TransformerEncoder, Field(discriminator="kind")]
    intermediate: Annotated[IdentityIntermediate | LinearIntermediate, Field(discriminator="kind")]
    classifier: Annotated[FixedFanInClassifier | DenseClassifier, Field(discriminator="kind")]
    parametrization: Annotated[StandardParametrization | SuParParametrization, Field(discriminator="kind")]
    sparse_ift: Annotated[NoSparseIFT | SparseIFT, Field(discriminator="kind")]
    sparsity: Annotated[StaticSparsity | SetSparsity | RigLSparsity | TopKastSparsity, Field(discriminator="kind")]
    auxiliary: Annotated[NoAuxiliary | ClustersAuxiliary, Field(discriminator="kind")]
    trainer: Trainer
    metrics: Metrics
    tracking: Annotated[NoTracking | WandbTracking, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _sparse_ift_has_a_layer(self) -> "TrainConfig":
        if isinstance(self.sparse_ift, NoSparseIFT):
            return self
        if "intermediate" in self.sparse_ift.layers and self.intermediate.kind != "linear":
            raise ValueError("sparse_ift transforms an intermediate layer; add intermediate=linear")
        if "encoder" in self.sparse_ift.layers and self.encoder.kind != "transformer":
            raise ValueError("sparse_ift.layers: the bag has no feed-forward blocks; take encoder=transformer, or none")
        if self.sparsity.kind == "topkast":
            raise ValueError(
                "sparse_ift: sparsity=topkast learns weights that take no part in the output, and only the classifier "
                "can; take sparsity=rigl, set or static"
            )
        return self

    @model_validator(mode="after")
    def _micro_batch_divides(self) -> "TrainConfig":
        micro = self.trainer.micro_batch_size
        if micro is not None and micro > self.trainer.batch_size:
            raise ValueError(
                f"trainer.micro_batch_size={micro} is larger than trainer.batch_size={self.trainer.batch_size}; "
                "set it to at most the batch size, or to null for one pass"
            )
        return self


class CoordinateCheck(Section):
    fan_ins: Annotated[tuple[Count, ...], Field(min_length=2)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    steps: Count
    labels: Count
    output: str


class CoordinateCheckConfig(TrainConfig):
    check: CoordinateCheck


class EvaluateConfig(Section):
    run: str
    split: str
    batch_size: Count
    device: str
    threads: Count | None


class PredictConfig(Section):
    run: str
    input: str
    output: str
    k: Count
    batch_size: Count
    device: str
    threads: Count | None
    text_fields: tuple[str, ...] | None
    text_separator: str
    id_field: str


S = TypeVar("S", bound=Section)


def parse(schema: type[S], values: Mapping[str, Any]) -> S:
    """Check composed values against a schema.

    Raises:
        XMCError: lists every mistake, a line each, with the nearest valid key where one was mistyped.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines = [_explain(schema, dict(e)) for e in error.errors(include_url=False)]
        raise XMCError("the configuration has mistakes:\n" + "\n".join(f"  {line}" for line in lines)) from None


def near_miss(given: str, known: list[str]) -> str:
    """`; did you mean 'x'?` or, where nothing is near, the list of what exists."""
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; expected one of: {', '.join(sorted(known))}"


def run_config_path(run: str | Path) -> Path:
    """Where a run folder keeps its resolved configuration."""
    return Path(run) / "config.yaml"


def _explain(schema: type[Section], error: dict[str, Any]) -> str:
    """One pydantic error as one line: the key, what was given, what was expected."""
    keys, section = _walk(schema, error["loc"])
    key = ".".join(keys)
    match error["type"]:
        case "extra_forbidden":
            known = [".".join([*keys[:-1], name]) for name in section.model_fields]
            return f"{key}: unknown key{near_miss(key, known)}"
        case "union_tag_invalid":
            known = error["ctx"]["expected_tags"].replace("'", "").split(", ")
            return f"{key}.kind: got {error['ctx']['tag']!r}{near_miss(error['ctx']['tag'], known)}"
        case "missing":
            return f"{key}: is missing; give it as {key}=..."
        case "value_error":
            return str(error["ctx"]["error"])
        case "literal_error":
            known = [str(v) for v in get_args(section.model_fields[keys[-1]].annotation)]
            return f"{key}: got {error['input']!r}{near_miss(str(error['input']), known)}"
        case _:
            return f"{key}: got {error['input']!r}; {error['msg'][0].lower() + error['msg'][1:]}"


def _walk(schema: type[Section], loc: tuple[int | str, ...]) -> tuple[list[str], type[Section]]:
    """The dotted key of an error, without pydantic's union tags, and the section it lies in."""
    keys: list[str] = []
    section: type[Section] = schema
    candidates: list[type[Section]] = []
    for part in loc:
        tagged = [c for c in candidates if part in get_args(c.model_fields["kind"].annotation)] if candidates else []
        if tagged:
            section, candidates = tagged[0], []
            continue
        keys.append(str(part))
        field = section.model_fields.get(str(part))
        options = _sections(field.annotation) if field else []
        if len(options) == 1:
            section = options[0]
        candidates = options if len(options) > 1 else []
    return keys, section


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Section) else []
    return [s for arg in get_args(annotation) for s in _sections(arg)]
