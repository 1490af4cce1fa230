"""The parts of a run: light to import, and each says what its base asks."""

import inspect
from typing import Any

import pytest

from xmc.config.choices import registries
from xmc.registry import Registry


@pytest.mark.parametrize("registry", registries(), ids=lambda registry: registry.group)
def test_each_part_is_a_whole_one_and_has_its_name(registry: Registry[Any]) -> None:
    for name in registry.names():
        section = registry[name]
        assert not inspect.isabstract(section) and section.model_fields["kind"].default == name
        assert section.__doc__ and section.__doc__ != registry.base.__doc__
