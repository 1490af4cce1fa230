"""Every check at the door: a composed configuration becomes a typed one, or one error that tells all mistakes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from xmc.errors import XMCError
from xmc.registry import sections
from xmc.section import SAVED, Section, named
from xmc.spelling import near_miss

S = TypeVar("S", bound=Section)


def parse(schema: type[S], values: Mapping[str, Any], where: str = "", saved: bool = False) -> S:
    """Check values against a schema. where: the file that they were read from. saved: they are those of a run.

    Raises:
        XMCError: tells the mistake, or lists them, a line each, with the nearest valid key where one was mistyped.
    """
    try:
        return schema.model_validate(values, context=SAVED if saved else None)
    except ValidationError as error:
        found = error.errors(include_url=False)
        within = {e["loc"][:length] for e in found for length in range(len(e["loc"]))}
        lines = [_explain(schema, values, dict(e)) for e in found if e["loc"] not in within]
        if len(lines) == 1:
            raise XMCError(f"{where}: {lines[0]}" if where else lines[0]) from None
        told = "".join(f"\n  {line}" for line in lines)
        raise XMCError(f"{where or 'the configuration'} has mistakes:{told}") from None


def run_config_path(run: str | Path) -> Path:
    """Where a run folder keeps its resolved configuration."""
    return Path(run) / "config.yaml"


def _explain(schema: type[Section], values: Mapping[str, Any], error: dict[str, Any]) -> str:
    """One pydantic error as one line: the key, what was given, what was expected."""
    keys = [str(part) for part in error["loc"]]
    section = _section_of(schema, values, error["loc"])
    key = ".".join(keys)
    match error["type"]:
        case "extra_forbidden":
            known = [".".join([*keys[:-1], name]) for name in named(section)]
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
            known = [str(v) for v in get_args(named(section)[keys[-1]].annotation)]
            return f"{key}: got {error['input']!r}{near_miss(str(error['input']), known)}"
        case _:
            return f"{key}: got {error['input']!r}; {error['msg'][0].lower() + error['msg'][1:]}"


def _section_of(schema: type[Section], values: Any, loc: tuple[int | str, ...]) -> type[Section]:
    """The section in which the key of an error lies, as far as there is one."""
    section, options = schema, [schema]
    for part in loc[:-1]:
        if len(options) == 1:
            (section,) = options
        if field := named(section).get(str(part)):
            options = sections(field)
        try:
            values = values[part]
        except (KeyError, TypeError, IndexError):
            values = None
        if isinstance(values, Mapping) and "kind" in values:
            options = [one for one in options if values["kind"] in get_args(one.model_fields["kind"].annotation)]
    return options[0] if len(options) == 1 else section
