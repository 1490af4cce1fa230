"""What the JSON files beside a model's tensors say: its card, and how its encoder is used."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from xmc.errors import XMCError
from xmc.model.sparse_ift import Family, SparseIFT
from xmc.storage import read_json
from xmc.values import Count, Cutoff, Fraction, LossName, Number, Positive, Size

Pooling = Literal["cls", "mean", "none"]
P = TypeVar("P", bound="Part")


class Part(BaseModel):
    """Values are not converted, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Transformation(Part):
    """A `SparseIFT`."""

    kind: Family
    sparsity: Annotated[float, Field(ge=0, lt=1)]

    def build(self) -> SparseIFT:
        return SparseIFT(self.kind, self.sparsity)


class EncoderCard(Part):
    """`encoder/pooling.json`: see `Encoder`."""

    pooling: Pooling
    max_length: Count
    layers: Count = 1
    dropout: Fraction = 0.0
    transformation: Transformation | None = None
    lexical: bool = False


class IdentityCard(Part):
    kind: Literal["identity"]


class LinearCard(Part):
    """See `intermediate.Linear`."""

    kind: Literal["linear"]
    width: Count
    activation: Literal["relu", "gelu", "silu", "tanh"]
    dropout: Fraction = 0.0
    transformation: Transformation | None = None


class ClassifierCard(Part):
    kind: Literal["dense", "fixed_fan_in", "head_and_tail"]
    in_features: Count


class CalibrationCard(Part):
    """A `Calibration`. own: the file of the labels' thresholds; true, of older formats: `thresholds.safetensors`."""

    scale: Positive
    shift: Number
    k: Cutoff
    threshold: Fraction
    own: Annotated[str, Field(pattern=r"^thresholds[\w-]*\.safetensors$")] | bool


class LexicalCard(Part):
    """See `LexicalHalf`; the rest of it is in `lexical.safetensors`."""

    levels: Count
    saw_dev: bool = False
    nearest: Size = 0


class ApartCard(LexicalCard):
    """Of a half apart from its model. vocab_size: ids of the tokenizer that it reads."""

    vocab_size: Count


class Card(Part):
    """`xmc.json`: see `XMCModel`. files, digest: see `seal`."""

    format_version: Count
    loss: LossName
    logit_adjustment: Number = 0.0
    intermediate: Annotated[IdentityCard | LinearCard, Field(discriminator="kind")]
    classifier: ClassifierCard
    calibration: CalibrationCard | None = None
    lexical: LexicalCard | None = None
    files: dict[str, str] = {}
    digest: str = ""


class MemberCard(Part):
    """A ranking of a blend. weight: what it counts for. name: as it is called in tables."""

    name: Annotated[str, Field(min_length=1)]
    weight: Annotated[float, Field(gt=0, le=1)]


class ModelCard(MemberCard):
    """Of a model, by its place in `models/`."""

    kind: Literal["model"]
    model: Size


class NeighboursCard(MemberCard):
    """Of the nearest training documents by the features of a model; see `Neighbours`."""

    kind: Literal["neighbours"]
    model: Size
    nearest: Count


class ScoresCard(MemberCard):
    """Of another tool. files: its scores, by split. scale: what they are multiplied by."""

    kind: Literal["scores"]
    files: dict[str, str]
    scale: Positive


class BlendCard(Part):
    """`xmc.json` of a blend: see `Blend`. models: how many there are. files, digest: see `seal`."""

    format_version: Count
    kind: Literal["blend"]
    models: Size
    members: Annotated[
        tuple[Annotated[ModelCard | NeighboursCard | ScoresCard, Field(discriminator="kind")], ...],
        Field(min_length=1),
        Strict(False),
    ]
    files: dict[str, str] = {}
    digest: str = ""


def read_part(path: Path, part: type[P]) -> P:
    """
    Raises:
        XMCError: the file cannot be read, or something in it is missing, unknown or of another kind.
    """
    try:
        return part.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f", not {first['input']!r:.40}"
        raise XMCError(f"{path}: {key}: {first['msg']}{given}; copy the model again, or save it anew") from None
