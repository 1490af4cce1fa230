"""Every check at the door: a composed configuration becomes a typed one, or one error that tells all mistakes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from xmc.config.parts import Section
from xmc.errors import XMCError
from xmc.spelling import near_miss

S = TypeVar("S", bound=Section)


def parse(schema: type[S], values: Mapping[str, Any], where: str = "") -> S:
    """Check composed values against a schema. where: the file that they were read from.

    Raises:
        XMCError: tells the mistake, or lists them, a line each, with the nearest valid key where one was mistyped.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        within = {e["loc"][:length] for e in found for length in range(len(e["loc"]))}
        lines = [_explain(schema, dict(e)) for e in found if e["loc"] not in within]
        if len(lines) == 1:
            raise XMCError(f"{where}: {lines[0]}" if where else lines[0]) from None
        told = "".join(f"\n  {line}" for line in lines)
        raise XMCError(f"{where or 'the configuration'} has mistakes:{told}") from None


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
        case "tuple_type":
            return f"{key}: got {error['input']!r}; expected a list: {key}=[...]"
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
        options = sections(field.annotation) if field else []
        if len(options) == 1:
            section = options[0]
        candidates = options if len(options) > 1 else []
    return keys, section


def sections(annotation: Any) -> list[type[Section]]:
    """The sections among the types that an annotation names."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Section) else []
    return [s for arg in get_args(annotation) for s in sections(arg)]
