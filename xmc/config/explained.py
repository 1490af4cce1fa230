"""A configuration as YAML, each key with what it means beside it."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from xmc.registry import registry_of, sections
from xmc.section import Section, explanations, named

WIDTH = 120
_COLUMN = 28


def explained(schema: type[Section], values: Mapping[str, Any]) -> str:
    """YAML of these values. schema: the section whose they are; keys that it lacks have no explanation."""
    return "\n".join(_lines(schema, values, ""))


def _lines(section: type[Section] | None, values: Mapping[str, Any], indent: str) -> Iterator[str]:
    fields = named(section) if section else {}
    told = explanations(section) if section else {}
    for key, value in values.items():
        about = _about(fields.get(key), told.get(key, ""))
        if not isinstance(value, Mapping) or not value:
            yield from _commented(f"{indent}{key}: {_flow(value)}", about)
            continue
        yield from _commented(f"{indent}{key}:", about)
        yield from _lines(_held(fields.get(key), value), value, indent + "  ")


def _held(field: FieldInfo | None, value: Mapping[str, Any]) -> type[Section] | None:
    """The section whose value this is; of a part that one alone is imported."""
    if field is None:
        return None
    if (registry := registry_of(field)) is not None:
        return registry[value["kind"]] if value.get("kind") in registry.names() else None
    return next(iter(sections(field)), None)


def _about(field: FieldInfo | None, told: str) -> str:
    """What can be chosen, and what the key means."""
    options = get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()
    return "; ".join(filter(None, [" | ".join(map(str, options[:9])) if len(options) > 1 else "", told]))


def _flow(value: Any) -> str:
    """On one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 20).strip().removesuffix("\n...")
    )


def _commented(line: str, about: str) -> Iterator[str]:
    column = max(_COLUMN, len(line) + 2)
    first, *rest = textwrap.wrap(" ".join(about.split()), max(40, WIDTH - column - 2)) or [""]
    yield f"{line:<{column}}# {first}" if first else line
    for more in rest:
        yield f"{'':<{column}}# {more}"
