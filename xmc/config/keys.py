"""What a key of a command holds, as its schema tells."""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from xmc.config.commands import (
    AddLabelsConfig,
    BlendConfig,
    CalibrateConfig,
    CoordinateCheckConfig,
    EstimateConfig,
    EvaluateConfig,
    FinetuneConfig,
    PredictConfig,
    ReportConfig,
    TrainConfig,
    TuneConfig,
)
from xmc.config.parse import sections
from xmc.config.parts import Section

SCHEMAS: dict[str, type[Section]] = {
    "config": TrainConfig,
    "finetune": FinetuneConfig,
    "add_labels": AddLabelsConfig,
    "evaluate": EvaluateConfig,
    "calibrate": CalibrateConfig,
    "blend": BlendConfig,
    "report": ReportConfig,
    "predict": PredictConfig,
    "coordinate_check": CoordinateCheckConfig,
    "estimate": EstimateConfig,
    "tune": TuneConfig,
}
"""By the name of a command's YAML in `conf/`."""


def takes_data(config_name: str) -> bool:
    """Whether the command reads the data of a run, whose keys `data.*` may be given anew."""
    field = SCHEMAS[config_name].model_fields.get("data")
    return field is not None and get_origin(field.annotation) is dict


def names_freely(config_name: str, key: str) -> bool:
    """Whether a part of the key is a name of the user's own, such as that of scores in `scores.NAME.dev`."""
    first, _, rest = key.partition(".")
    field = SCHEMAS[config_name].model_fields.get(first)
    return bool(rest) and field is not None and _has_names(field)


def data_keys() -> set[str]:
    """The keys of every kind of data."""
    kinds = sections(TrainConfig.model_fields["data"].annotation)
    return {f"data.{name}" for kind in kinds for name in _names(kind)}


def is_text(config_name: str, key: str) -> bool:
    """Whether the key holds a text, such as a path."""
    return any(_accepts(field, str) for field in fields_of(config_name, key))


def is_texts(config_name: str, key: str) -> bool:
    """Whether the key holds a list of texts."""
    return any(_accepts(field, tuple[str, ...]) for field in fields_of(config_name, key))


def fields_of(config_name: str, key: str) -> list[FieldInfo]:
    """The fields of a key, one for each choice of the groups above it; none where there is no such key."""
    first, *rest = key.split(".")
    schema = TrainConfig if first == "data" and takes_data(config_name) else SCHEMAS[config_name]
    found = [names[first] for names in (_names(schema),) if first in names]
    if any(map(_has_names, found)):
        rest = rest[1:]
    for part in rest:
        inner = [_names(section) for field in found for section in sections(field.annotation)]
        found = [names[part] for names in inner if part in names]
    return found


def _names(section: type[Section]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _has_names(field: FieldInfo) -> bool:
    """Whether it holds sections by names of the user's own."""
    return get_origin(field.annotation) is dict and bool(sections(field.annotation))


def _accepts(field: FieldInfo, wanted: Any) -> bool:
    """Whether a type is the wanted one, or that or null."""
    of = field.annotation
    options = get_args(of) if get_origin(of) in (Union, UnionType) else (of,)
    return wanted in [get_args(option)[0] if get_origin(option) is Annotated else option for option in options]
