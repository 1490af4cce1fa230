"""What can be chosen of a run's parts: their registries, and the presets of `conf/`."""

import functools
from collections.abc import Iterator
from pathlib import Path

from xmc.config.run import TrainConfig
from xmc.registry import Registry, registry_of
from xmc.section import Section

PRESETS = "experiment"
"""The group of presets that choose several parts and keys at once."""


def conf_folder() -> Path:
    """The presets, as YAML: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return installed if (installed := package / "conf").is_dir() else package.parent / "conf"


@functools.cache
def registries() -> list[Registry[Section]]:
    """Of the parts of a run, those inside a part behind it."""
    return list(_registries(TrainConfig))


def groups() -> set[str]:
    """All that can be chosen by name."""
    return {PRESETS, *(registry.group for registry in registries())}


def options_of(group: str) -> list[str]:
    """What can be chosen of a group: parts, and presets."""
    parts = [name for registry in registries() if registry.group == group for name in registry.names()]
    return sorted({*parts, *presets_of(group)})


def presets_of(group: str) -> list[str]:
    """The presets of a group."""
    folder = conf_folder() / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def _registries(schema: type[Section]) -> Iterator[Registry[Section]]:
    for registry in filter(None, map(registry_of, schema.model_fields.values())):
        yield registry
        yield from _registries(registry.base)
