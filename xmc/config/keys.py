"""What a key of a command holds, as the schema of its configuration tells."""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from xmc.config.run import TrainConfig
from xmc.registry import registry_of, sections
from xmc.section import Section, named


def takes_data(schema: type[Section]) -> bool:
    """Whether the command reads the data of a run, whose keys `data.*` may be given anew."""
    field = schema.model_fields.get("data")
    return field is not None and get_origin(field.annotation) is dict


def names_freely(schema: type[Section], key: str) -> bool:
    """Whether a part of the key is a name of the user's own, such as that of scores in `scores.NAME.dev`."""
    first, _, rest = key.partition(".")
    field = schema.model_fields.get(first)
    return bool(rest) and field is not None and has_names(field)


def keys_of(schema: type[Section], chosen: Mapping[str, str] | None = None) -> set[str]:
    """All keys; none below a name of the user's own.

    chosen: parts by their group, others are the default; None: under any choice.
    """
    keys = set()
    for name, field in named(schema).items():
        if name == "data" and takes_data(schema):
            field = TrainConfig.model_fields[name]
        if chosen is not None and (registry := registry_of(field)) is not None:
            default = field.get_default(call_default_factory=True)
            below = [registry[chosen[registry.group]] if registry.group in chosen else type(default)]
        else:
            below = [] if has_names(field) else sections(field)
        keys |= {name, *(f"{name}.{key}" for section in below for key in keys_of(section, chosen))}
    return keys


def is_text(schema: type[Section], key: str) -> bool:
    """Whether the key holds a text, such as a path."""
    return any(_accepts(field, str) for field in fields_of(schema, key))


def is_texts(schema: type[Section], key: str) -> bool:
    """Whether the key holds a list of texts."""
    return any(_accepts(field, tuple[str, ...]) for field in fields_of(schema, key))


def fields_of(schema: type[Section], key: str) -> list[FieldInfo]:
    """The fields of a key, one for each choice of the groups above it; none where there is no such key."""
    first, *rest = key.split(".")
    names = named(TrainConfig if first == "data" and takes_data(schema) else schema)
    found = [names[first]] if first in names else []
    if any(map(has_names, found)):
        rest = rest[1:]
    for part in rest:
        inner = [named(section) for field in found for section in sections(field)]
        found = [names[part] for names in inner if part in names]
    return found


def has_names(field: FieldInfo) -> bool:
    """Whether it holds sections by names of the user's own."""
    return get_origin(field.annotation) is dict and bool(sections(field))


def _accepts(field: FieldInfo, wanted: Any) -> bool:
    """Whether a type is the wanted one, or that or null."""
    of = field.annotation
    options = get_args(of) if get_origin(of) in (Union, UnionType) else (of,)
    return wanted in [get_args(option)[0] if get_origin(option) is Annotated else option for option in options]
