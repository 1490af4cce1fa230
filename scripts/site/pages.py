"""Pages of the site that are not in docs/: README.md, data/README.md, and the reference, made of the schema."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic.fields import FieldInfo

from xmc.commands import COMMANDS, load
from xmc.config.choices import registries
from xmc.registry import registry_of, sections
from xmc.section import Section, explanations, named

ROOT = Path(__file__).parents[2]
PYTHON = "XMCModel", "XMCClassifier", "XMCError"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them."""
    pages = {
        "index.md": (ROOT / "README.md").read_text().replace("](docs/", "](").replace("](data/README.md", "](data.md"),
        "data.md": (ROOT / "data" / "README.md")
        .read_text()
        .replace("](../docs/", "](")
        .replace("](../README.md", "](index.md"),
        "reference/commands.md": "\n".join(_commands()),
        "reference/parts.md": "\n".join(_parts()),
        "reference/python.md": "# Python\n\n" + "\n\n".join(f"::: xmc.{name}" for name in PYTHON) + "\n",
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links that leave docs/ lead to the pages above."""
    return markdown.replace("](../data/README.md", "](data.md").replace("](../README.md", "](index.md")


def _commands() -> Iterator[str]:
    yield "# Commands\n\nEach key is given as `key=value`. Keys of [parts](parts.md) stand with the parts."
    for name, about in COMMANDS.items():
        schema = load(name).schema
        yield f"\n## xmc {name}\n\n{_sentence(about)}\n"
        yield from _table(schema, "")


def _parts() -> Iterator[str]:
    yield "# Parts\n\nWhat can be chosen for a run, and the keys of each choice."
    for registry in registries():
        prefix = registry.group.replace("/", ".")
        yield f"\n## {registry.group}"
        for name in registry.names():
            section = registry[name]
            yield f"\n### {registry.group}={name}\n\n{_sentence((section.__doc__ or '').strip())}\n"
            yield from _table(section, f"{prefix}.")


def _table(section: type[Section], prefix: str) -> Iterator[str]:
    """A row for each key, those of sections inside behind it."""
    rows = list(_rows(section, prefix))
    if rows:
        yield "| key | default | |\n|---|---|---|"
        yield from (f"| `{key}` | {default} | {about} |" for key, default, about in rows)


def _rows(section: type[Section], prefix: str) -> Iterator[tuple[str, str, str]]:
    told = explanations(section)
    for key, field in named(section).items():
        if key == "kind":
            continue
        if (registry := registry_of(field)) is not None:
            kind = getattr(field.get_default(call_default_factory=True), "kind", "")
            yield prefix + key, f"`{kind}`", f"a [part](parts.md#{registry.group.replace('/', '')})"
        elif (inner := next(iter(sections(field)), None)) is not None and not _has_names(field):
            yield from _rows(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, _default(field), _cell(told.get(key, ""))


def _has_names(field: FieldInfo) -> bool:
    return "dict" in str(field.annotation)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "to be given"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "null"
    if isinstance(value, tuple):
        value = f"[{','.join(map(str, value))}]"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _sentence(text: str) -> str:
    text = re.sub(r"\n(?!\n)", " ", text)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") or not text else ".")
