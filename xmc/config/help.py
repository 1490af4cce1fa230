"""What `xmc <command> --help` prints: each key as it is typed, with its default, and what it means."""

import re
import shutil
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from xmc.config.choices import PRESETS, presets_of
from xmc.config.keys import fields_of, has_names
from xmc.config.run import TrainConfig
from xmc.registry import Registry, registry_of, sections
from xmc.section import Section, explanations, named

_COLUMN = 34
_OPEN = "???"
_SELECTED = re.compile(r"\$\{oc\.select:[\w.]+,(\$\{[\w.]+\})\}")
_ANOTHER = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class _Key:
    key: str
    value: Any
    about: str

    @property
    def typed(self) -> str:
        if self.value == _OPEN:
            return f"{self.key}=..."
        if isinstance(self.value, str):
            return f"{self.key}={self.value}"
        value = yaml.safe_dump(self.value, default_flow_style=True, width=1 << 20).strip().removesuffix("\n...")
        return f"{self.key}={value.replace(', ', ',')}"


@dataclass(frozen=True)
class _Group:
    title: str
    keys: list[_Key]


def help_text(
    title: str,
    schema: type[Section],
    often: Sequence[str] = (),
    parts: Collection[str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> str:
    """The keys of a command, those that must be given or are used most first.

    often: the latter. parts: of the keys of a run those that are listed; None: all. values: what the keys are under
    overrides, nested; None: their defaults.
    """
    values = _defaults(schema) if values is None else values
    groups = [*_groups("others", schema, values, "", values)]
    keys = {one.key: one for group in groups for one in group.keys}
    needed = [one for one in keys.values() if one.value == _OPEN and "." not in one.key]
    first = [*needed, *(keys.get(key) or _elsewhere(schema, key) for key in often if keys.get(key) not in needed)]
    told = {one.key for one in first}
    shown = [
        _Group(group.title, [one for one in group.keys if one.key not in told and _is_listed(one.key, parts)])
        for group in groups
    ]
    blocks = [title, *(_block(group) for group in (_Group("used most", first), *shown) if group.keys)]
    return "\n\n".join([*blocks, *_ending(schema, parts)])


def _is_listed(key: str, parts: Collection[str] | None) -> bool:
    first = re.split("[./]", key)[0]
    return parts is None or first in parts or first not in {*named(TrainConfig), PRESETS}


def _elsewhere(schema: type[Section], key: str) -> _Key:
    """A key that the default of its part lacks, and others have."""
    above, _, last = key.rpartition(".")
    having = [part for field in fields_of(schema, above) for part in sections(field) if last in named(part)]
    told = (explanations(part).get(last) for part in having)
    return _Key(key, _OPEN, next(filter(None, told), ""))


def _groups(
    title: str, section: type[Section], values: Mapping[str, Any], prefix: str, every: Mapping[str, Any]
) -> Iterator[_Group]:
    """The keys of a section, then those of each section in it. every: the values of the whole command."""
    told = explanations(section)
    own: list[_Key] = []
    below: list[_Group] = []
    for name, field in named(section).items():
        key, value, about = prefix + name, values[name], told.get(name, "")
        if (registry := registry_of(field)) is not None:
            part = registry[value["kind"]]
            own.append(_Key(registry.group, value["kind"], _choices(registry)))
            below += _groups(f"{registry.group}={value['kind']}: {_about(part)}", part, value, key + ".", every)
        elif has_names(field):
            (inner,) = sections(field)
            first, *more = named(inner)
            own += [_Key(f"{key}.NAME.{first}", _OPEN, about), *(_Key(f"{key}.NAME.{one}", _OPEN, "") for one in more)]
        elif get_origin(field.annotation) is dict:
            own.append(_Key(f"{key}.KEY", _OPEN, about))
        elif isinstance(value, Mapping):
            (inner,) = sections(field)
            below += _groups(f"{key}: {_about(inner)}", inner, value, key + ".", every)
        elif name != "kind":
            options = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            choices = " | ".join(map(str, options))
            own.append(_Key(key, _resolved(value, every), "; ".join(filter(None, [choices, about]))))
    if not prefix and issubclass(section, TrainConfig):
        own.append(_Key(PRESETS, None, f"several choices and keys by one name: {' | '.join(presets_of(PRESETS))}"))
    yield _Group(title, own)
    yield from below


def _choices(registry: Registry[Section]) -> str:
    """What a part is, and what can be chosen for it."""
    presets = presets_of(registry.group)
    published = f"; published sets: {' | '.join(presets)}" if presets else ""
    return f"{_about(registry.base)} {' | '.join(registry.names())}{published}"


def _about(section: type[Section]) -> str:
    """The first sentence that its docstring says."""
    return " ".join((section.__doc__ or "").partition("\n\n")[0].split())


def _resolved(value: Any, every: Mapping[str, Any]) -> Any:
    """A value that names others with these filled in."""
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        of: Any = every
        for part in match[1].split("."):
            of = of[part]
        return str(of)

    return _ANOTHER.sub(found, _SELECTED.sub(r"\1", value))


def _defaults(section: type[Section]) -> dict[str, Any]:
    """The values of a section by its keys, nested, `???` where one must be given."""
    return {
        name: _OPEN if field.is_required() else to_jsonable_python(_default(field), by_alias=True)
        for name, field in named(section).items()
    }


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _block(group: _Group) -> str:
    lines = [*textwrap.wrap(group.title, _width())]
    for one in group.keys:
        head = f"  {one.typed}"
        about = textwrap.wrap(" ".join(one.about.split()), _width() - _COLUMN, break_on_hyphens=False)
        if about and len(head) < _COLUMN - 1:
            lines.append(f"{head:<{_COLUMN}}{about.pop(0)}")
        else:
            lines.append(head)
        lines += [" " * _COLUMN + line for line in about]
    return "\n".join(lines)


def _width() -> int:
    """Columns of the terminal, within what can be read."""
    return min(120, max(80, shutil.get_terminal_size((120, 24)).columns))


def _ending(schema: type[Section], parts: Collection[str] | None) -> Iterator[str]:
    if not issubclass(schema, TrainConfig):
        return
    if parts is None:
        yield "Other choices have other keys; to see them: xmc train --help data=csv encoder=transformer"
    else:
        yield "All keys of a run can be given, too; to see them: xmc train --help"
