"""The parts of a run: light to import, and each says what its base asks."""

import inspect
import pkgutil
from typing import Any

import pytest
from test_cli import loaded_by

import xmc.parts
from xmc.config.choices import registries
from xmc.registry import Registry

MODULES = [module.name for module in pkgutil.walk_packages(xmc.parts.__path__, "xmc.parts.")]


def test_the_modules_of_parts_are_light() -> None:
    loaded, error = loaded_by(f"import {', '.join(MODULES)}")
    assert not loaded and not error


@pytest.mark.parametrize("registry", registries(), ids=lambda registry: registry.group)
def test_each_part_is_a_whole_one_and_has_its_name(registry: Registry[Any]) -> None:
    for name in registry.names():
        section = registry[name]
        assert not inspect.isabstract(section) and section.model_fields["kind"].default == name
        assert section.__doc__ and section.__doc__ != registry.base.__doc__
