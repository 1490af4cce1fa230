"""From parts, presets and overrides to plain values: the door that the command line and Python share."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, cast

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xmc.config import choices
from xmc.config.arguments import overrides_of, parse_overrides, reading
from xmc.config.choices import groups, registries
from xmc.config.keys import keys_of
from xmc.config.nodes import ROOT, registered
from xmc.config.run import TrainConfig
from xmc.config.typed import check_choice, check_known
from xmc.errors import XMCError
from xmc.section import Section

PATH_KEYS = ("from", "replay", "data.root", "data.name", "encoder.name")


def compose(arguments: Sequence[str], schema: type[Section] = TrainConfig) -> dict[str, Any]:
    """The values of a command's configuration under these arguments, as the command would see them.

    schema: of the command. It may be called from any thread, and inside an application of Hydra.

    Raises:
        XMCError: an argument is malformed or no such key exists, or a value is missing.
    """
    overrides = overrides_of(schema, arguments)
    check_keys(overrides, schema)
    with one_clear_error():
        return container(_composed(schema, overrides))


@contextmanager
def one_clear_error() -> Iterator[None]:
    """What goes wrong in Hydra and below it as an XMCError."""
    try:
        yield
    except OmegaConfBaseException as error:
        told = str(error).partition("\n")[0]
        raise XMCError(
            f"{error.full_key}: {told}; write \\${{...}} where the characters themselves are meant"
        ) from None
    except (HydraException, yaml.YAMLError) as error:
        told = str(error) or str(error.__cause__)
        raise XMCError("; ".join(line.strip() for line in told.splitlines() if line.strip())) from None


def check_names(overrides: Sequence[str], schema: type[Section]) -> None:
    """Name the near miss of a choice that does not exist, or of a key that there is under no choice."""
    given = parse_overrides(overrides)
    if issubclass(schema, TrainConfig):
        _check_choices(filter(_is_choice, given))
        check_known(_keys_given(given), keys_of(schema) | groups())
        return
    for key in (override.key_or_group for override in given if override.key_or_group in groups()):
        raise XMCError(f"{key}: a run has chosen it; single keys may be others where the command has {key}.*")
    check_known(_keys_given(given), keys_of(schema))


def check_keys(overrides: Sequence[str], schema: type[Section]) -> None:
    """Name the near miss of a mistyped key or choice before Hydra refuses it."""
    given = parse_overrides(overrides)
    choosing = [override for override in given if _is_choice(override)]
    if not given or not issubclass(schema, TrainConfig):
        check_names(overrides, schema)
        return
    _check_choices(choosing)
    parts = {registry.group: registry for registry in registries()}
    chosen = {override.key_or_group: str(override.value()) for override in choosing}
    if all(group in parts and name in parts[group].names() for group, name in chosen.items()):
        swept = [override for override in given if override.key_or_group in parts and override.is_choice_sweep()]
        each = [{override.key_or_group: name} for override in swept for name in override.sweep_string_iterator()]
        for among in each or [{}]:
            now = chosen | among
            check_known(_keys_given(given), keys_of(schema, now) | groups(), now, parts)
        return
    with one_clear_error():  # presets choose parts
        known = _keys(_composed(schema, [o.input_line for o in choosing if o.input_line is not None]))
    check_known(_keys_given(given), known | groups())


def _keys_given(given: Iterable[Override]) -> Iterator[str]:
    """Those that must exist."""
    return (override.key_or_group for override in given if not override.is_force_add())


def _check_choices(choices: Iterable[Override]) -> None:
    for override in choices:
        value = override.value()
        for chosen in value if isinstance(value, list) else [value]:
            check_choice(override.key_or_group, str(chosen))


def values_under(overrides: Sequence[str], schema: type[Section]) -> dict[str, Any]:
    """The values of a command under these overrides, `???` where one is missing; interpolations as they stand."""
    with one_clear_error():
        return cast(dict[str, Any], OmegaConf.to_container(_composed(schema, overrides), resolve=False))


def container(cfg: DictConfig) -> dict[str, Any]:
    """The resolved values of a composed configuration. Raises XMCError where one is missing."""
    with one_clear_error():
        missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise XMCError("a value is missing: give " + " ".join(f"{key}=..." for key in missing))
    return values_of(cfg)


def values_of(cfg: DictConfig) -> dict[str, Any]:
    """The resolved values, `???` where one is missing."""
    with one_clear_error():
        values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    for key in PATH_KEYS:
        *above, last = key.split(".")
        section = reduce(lambda found, name: found.get(name, {}), above, values)
        if isinstance(path := section.get(last), str):
            section[last] = absolute(path)
    return {str(k): v for k, v in values.items()}


def absolute(path: str) -> str:
    """Absolute where it exists here, so that the run is found again from another working directory."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def _composed(schema: type[Section], overrides: Sequence[str]) -> DictConfig:
    """Without a trace in Hydra's state, which may be that of the caller's own application."""
    with reading, registered(schema):
        outer, base = GlobalHydra.instance(), VersionBase.instance()
        GlobalHydra.set_instance(type.__call__(GlobalHydra))  # a new one, where calling it gives the one there is
        VersionBase.set_instance(type.__call__(VersionBase))
        try:
            with hydra.initialize_config_dir(str(choices.conf_folder().absolute()), version_base="1.3"):
                return hydra.compose(ROOT, overrides=list(overrides))
        finally:
            GlobalHydra.set_instance(outer)
            VersionBase.set_instance(base)


def _is_choice(override: Override) -> bool:
    """A choice of a group (not a sweep over several), which decides what keys there are."""
    return override.key_or_group in groups() and not override.is_sweep_override()


def _keys(cfg: DictConfig, prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for name in cfg:
        key = f"{prefix}{name!s}"
        keys.add(key)
        if not OmegaConf.is_missing(cfg, name) and isinstance(node := cfg._get_node(name), DictConfig):
            keys |= _keys(node, key + ".")
    return keys
