"""What each command of xmc takes."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

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
    OnError,
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
from xmc.types import LossName
from xmc.values import (
    Count,
    Cutoff,
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

Split = Literal["train", "dev", "test"]


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


class CoordinateCheck(Section):
    fan_ins: Annotated[tuple[Count, ...], Field(min_length=2)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), OneOrMore]
    steps: Count
    labels: Count
    output: Text


class CoordinateCheckConfig(TrainConfig):
    check: CoordinateCheck


class EstimateConfig(TrainConfig):
    """device_memory: such as 8GiB; null: that of the device at hand."""

    device_memory: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?[MG]i?B$")] | None
    labels_a_document: Count


_BUDGET = {"s": 1, "min": 60, "h": 3600}  # seconds


def _budget(value: object) -> object:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h)", str(value))
    if found is None or not 0 < float(found[1]) * _BUDGET[found[2]] <= 1e9:
        raise ValueError(f"budget: got {value!r}; give wall time such as 90s, 30min or 2h")
    return value


class TuneConfig(EstimateConfig):
    """budget: of wall time, such as 30min. output: folder of the study. trials: at most; null: what there is time for.

    run: where the command that is printed at the end trains.
    """

    budget: Annotated[str, BeforeValidator(_budget)]
    output: Text
    trials: Count | None

    @property
    def seconds(self) -> float:
        """Of the budget."""
        number, unit = re.fullmatch(r"([0-9.]+) ?(s|min|h)", self.budget).groups()  # type: ignore[union-attr]
        return float(number) * _BUDGET[unit]

    @model_validator(mode="after")
    def _goes_on_by_itself(self) -> "TuneConfig":
        if self.resume:
            raise ValueError("resume: the same command again, without it, goes on where a study was interrupted")
        return self


RunData = dict[str, Any]
"""What is another now in the data section of a run: its root, where it moved."""


class EvaluateConfig(Section):
    run: Text
    data: RunData
    split: Split
    batch_size: Count
    device: str
    threads: Threads | None


class AddLabelsConfig(Section):
    """names: file of the new labels' names; null: each is called by its id. negatives: of the run's training data."""

    run: Text
    input: Text
    output: Text
    names: Text | None
    text_fields: Texts | None
    text_separator: str | None
    label_field: str | None
    label_separator: Text | None
    on_error: OnError
    data: RunData
    negatives: Size
    steps: Count
    batch_size: Count
    lr: Positive
    weight_decay: NonNegative
    seed: Seed
    device: str
    threads: Threads | None


NEIGHBOURS = "neighbours"
"""What a blend's ranking by the nearest training documents is called."""


class ScoresOf(Section):
    """Files of scores that another tool gave the documents of a split."""

    dev: Text
    test: Text | None = None
    train: Text | None = None

    def given(self) -> dict[str, str]:
        """By split, absolute: they stay where they are."""
        return {split: str(Path(path).absolute()) for split, path in self.model_dump().items() if path is not None}


class BlendConfig(Section):
    """scores: by a name of the user's. neighbours: the run in whose features training documents are near."""

    run: Text
    runs: Texts
    scores: dict[str, ScoresOf]
    neighbours: Text | None
    nearest: Count
    data: RunData
    batch_size: Count
    device: str
    threads: Threads | None

    @property
    def folders(self) -> tuple[str, ...]:
        """Of the runs that take part, each once."""
        return tuple(dict.fromkeys([*self.runs, *([] if self.neighbours is None else [self.neighbours])]))

    def name_of(self, folder: str) -> str:
        """What its ranking is called: as the folder, where nothing else is."""
        names = [Path(run).absolute().name for run in self.runs]
        name = Path(folder).absolute().name
        return (
            name if names.count(name) == 1 and name not in {NEIGHBOURS, *self.scores} else str(Path(folder).absolute())
        )

    @model_validator(mode="after")
    def _several_rankings(self) -> "BlendConfig":
        if len(set(self.runs)) < len(self.runs):
            raise ValueError(f"runs: a run stands twice in {', '.join(self.runs)}; name each once")
        if not self.folders:
            raise ValueError("give a run, as runs=[...] or neighbours=...: it tells the labels and the documents")
        if len(self.runs) + len(self.scores) + (self.neighbours is not None) < 2:
            raise ValueError(
                "a blend takes two rankings or more: runs=[a,b], scores.NAME.dev=FILE of another tool, neighbours=RUN"
            )
        if NEIGHBOURS in self.scores:
            raise ValueError(f"scores.{NEIGHBOURS}: that name is taken; call these scores otherwise")
        return self


class CalibrateConfig(Section):
    run: Text
    data: RunData
    k: Cutoff
    precision: Fraction | None
    per_label: bool
    min_positives: Count
    batch_size: Count
    device: str
    threads: Threads | None


class ReportConfig(Section):
    run: Text | None
    runs: Texts
    data: RunData
    split: Split
    output: Text | None
    replicates: Count
    seed: Seed
    examples: Count
    batch_size: Count
    device: str
    threads: Threads | None

    @property
    def folders(self) -> tuple[str, ...]:
        """Of the runs to report on."""
        return self.runs if self.run is None else (self.run,)

    @model_validator(mode="after")
    def _run_or_runs(self) -> "ReportConfig":
        if (self.run is None) == (not self.runs):
            raise ValueError("give run=<folder of xmc train>, or several of them as runs=[a,b]")
        if len(set(self.runs)) < len(self.runs):
            raise ValueError(f"runs: a run stands twice in {', '.join(self.runs)}; name each once")
        return self


def _threshold(value: object) -> object:
    if value in (None, "auto") or (isinstance(value, int | float) and 0 <= value <= 1):
        return value
    raise ValueError(f"threshold: got {value!r}; give auto, a probability from 0 to 1, or null for the k best labels")


class PredictConfig(Section):
    run: Text
    input: Text
    output: str
    format: Literal["jsonl", "scores", "annif"]
    k: Count | None
    threshold: Annotated[float | Literal["auto"] | None, BeforeValidator(_threshold)]
    filter: Text | None
    on_error: OnError
    batch_size: Count
    device: str
    threads: Threads | None
    text_fields: Texts | None
    text_separator: str | None
    id_field: str | None
