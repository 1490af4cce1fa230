"""What Hydra composes of: a node for each part that can be chosen, and one for a command, made from their sections."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from xmc.config.choices import PRESETS, registries
from xmc.config.run import TrainConfig
from xmc.registry import Registry, registry_of
from xmc.section import Section, named

ROOT = "xmc"
"""Name of the node of the command."""
MISSING = "???"
HYDRAS_OWN = ("hydra", "_dummy_empty_config_.yaml")
_QUIET = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]
_HERE = {"run": {"dir": "."}, "output_subdir": None, "job": {"chdir": False}}
JOB_NAME = "xmc_job_name"
"""The resolver that makes a folder's name of what a job of a sweep differs in."""
_SWEPT = {
    "sweep": {"dir": "${run}", "subdir": f"${{{JOB_NAME}:${{hydra.job.override_dirname}}}}"},
    "job": {"chdir": False, "config": {"override_dirname": {"item_sep": "+"}}},
}


@contextmanager
def registered(schema: type[Section]) -> Iterator[None]:
    """Within, Hydra knows the node of a command's configuration and those of all parts, and of nobody else's any."""
    store = ConfigStore.instance()
    others = store.repo
    store.repo = {name: node for name, node in others.items() if name in HYDRAS_OWN} | _parts()
    try:
        store.store(name=ROOT, node=_command_node(schema))
        yield
    finally:
        store.repo = others


class _Group(dict[str, Any]):
    """The parts of a group in Hydra's store; the node of one is made when it is looked up."""

    def __init__(self, registry: Registry[Any]) -> None:
        super().__init__({f"{name}.yaml": None for name in registry.names()})
        self._registry = registry

    def __getitem__(self, name: str) -> Any:
        if (found := super().__getitem__(name)) is None:
            node = OmegaConf.create(_node(self._registry[name.removesuffix(".yaml")]))
            found = self[name] = ConfigNode(name, node, self._registry.group, package=None, provider=ROOT)
        return found


@functools.cache
def _parts() -> dict[str, Any]:
    groups: dict[str, Any] = {}
    for registry in registries():
        *above, last = registry.group.split("/")
        functools.reduce(dict.__getitem__, above, groups)[last] = _Group(registry)
    return groups


def _command_node(schema: type[Section]) -> dict[str, Any]:
    trains = issubclass(schema, TrainConfig)
    node = _node(schema)
    own = [chosen for chosen in node.get("defaults", []) if chosen != "_self_"]
    experiment = [{PRESETS: None}] if trains else []
    hydra = {**_HERE, **_SWEPT} if trains else _HERE
    return node | {"defaults": ["_self_", *own, *experiment, *_QUIET], "hydra": hydra}


def _node(section: type[Section]) -> dict[str, Any]:
    """The defaults of a section; those of a part in it come by Hydra's defaults list, in front of what differs."""
    defaults, values = [], {}
    for key, field in named(section).items():
        value = _default(field)
        if (registry := registry_of(field)) is None or value == MISSING:
            values[key] = value
            continue
        kind = value["kind"]
        defaults.append({registry.group.rpartition("/")[2]: kind})
        plain = _yaml(registry[kind]())
        if changed := {name: given for name, given in value.items() if given != plain[name]}:
            values[key] = changed
    return ({"defaults": [*defaults, "_self_"]} if defaults else {}) | values


_yaml = functools.partial(to_jsonable_python, by_alias=True)  # tuples as lists, sections as mappings


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return MISSING
    return _yaml(field.get_default(call_default_factory=True))
