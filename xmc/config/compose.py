"""From `conf/` and overrides to plain values: the door that the command line and Python share."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from xmc.config.parse import near_miss
from xmc.config.parts import Section
from xmc.types import XMCError

PATH_KEYS = ("from", "replay", "data.root", "encoder.name")


def conf_folder() -> Path:
    """The YAML files: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return installed if (installed := package / "conf").is_dir() else package.parent / "conf"


def compose(config_name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The values of `conf/<config_name>.yaml` under these overrides, as a command of xmc would see them.

    Raises:
        XMCError: an override is malformed or no such key exists, or a value is missing.
    """
    check_keys(config_name, overrides)
    try:
        with hydra.initialize_config_dir(str(conf_folder().absolute()), version_base="1.3"):
            return container(hydra.compose(config_name, overrides=list(overrides)))
    except HydraException as error:
        raise XMCError(str(error)) from None


def as_override(key: str, value: object) -> str:
    """`key=value` as Hydra reads it, from a string, number, boolean, None or list of these."""
    return f"{key}={_literal(value)}"


def expand_home(argument: str) -> str:
    """`key=~/...` with the home directory, which a shell leaves to us behind a dotted key."""
    key, equals, value = argument.partition("=")
    return f"{key}={Path(value).expanduser()}" if equals and re.match("~(/|$)", value) else argument


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """The overrides among the arguments of a command. Raises XMCError where one is malformed."""
    texts = [a for a in arguments if "=" in a and not a.startswith("-")]
    try:
        return OverridesParser.create().parse_overrides(texts)
    except HydraException as error:
        raise XMCError(f"{error}; write overrides as key=value, quoted where the value has spaces or commas") from None


def check_keys(config_name: str, arguments: Sequence[str]) -> None:
    """Name the near miss of a mistyped key or choice before Hydra refuses it."""
    overrides = parse_overrides(arguments)
    choices = [override for override in overrides if _is_choice(override)]
    for override in choices:
        group, value = conf_folder() / override.key_or_group, override.value()
        options = [str(path.relative_to(group).with_suffix("")) for path in group.rglob("*.yaml")]
        for chosen in value if isinstance(value, list) else [value]:
            if str(chosen) not in options:
                raise XMCError(f"{override.key_or_group}: got {chosen!r}{near_miss(str(chosen), options)}")
    with hydra.initialize_config_dir(str(conf_folder().absolute()), version_base="1.3"):
        cfg = hydra.compose(config_name, overrides=[o.input_line for o in choices if o.input_line is not None])
    groups = {str(path.relative_to(conf_folder())) for path in conf_folder().rglob("*") if path.is_dir()}
    known = sorted(_keys(cfg) | groups)
    for given in overrides:
        key = given.key_or_group
        if not (given.is_add() or given.is_force_add() or key.startswith(("hydra.", "hydra/")) or key in known):
            raise XMCError(f"{key}: unknown key{near_miss(key, known)}")


def container(cfg: DictConfig) -> dict[str, Any]:
    """The resolved values of a composed configuration. Raises XMCError where one is missing."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise XMCError("a value is missing: give " + " ".join(f"{key}=..." for key in missing))
    for key in PATH_KEYS:
        if isinstance(value := OmegaConf.select(cfg, key), str):
            OmegaConf.update(cfg, key, absolute(value))
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    return {str(k): v for k, v in values.items()}


def absolute(path: str) -> str:
    """Absolute where it exists here, so that the run is found again from another working directory."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def to_yaml(config: Section) -> str:
    """A checked configuration as YAML, to be kept in a run's folder."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json", by_alias=True)))


def _literal(value: object) -> str:
    match value:
        case str():
            return QuotedString(text=value, quote=Quote.single).with_quotes()
        case list() | tuple():
            return f"[{','.join(map(_literal, value))}]"
        case None:
            return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_choice(override: Override) -> bool:
    """A choice of a group (not a sweep over several), which decides what keys there are."""
    return (conf_folder() / override.key_or_group).is_dir() and not override.is_sweep_override()


def _keys(cfg: DictConfig, prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for name in cfg:
        key = f"{prefix}{name!s}"
        keys.add(key)
        if not OmegaConf.is_missing(cfg, name) and isinstance(node := cfg._get_node(name), DictConfig):
            keys |= _keys(node, key + ".")
    return keys
