"""From `conf/` and overrides to plain values: the door that the command line and Python share."""

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xmc.config.arguments import HYDRA_KEYS, overrides_of, parse_overrides, reading
from xmc.config.keys import keys_of
from xmc.config.parts import Section
from xmc.config.run import TrainConfig
from xmc.errors import XMCError
from xmc.spelling import near_miss

HELP = """\
{title}

{choices}== Config ==
Override anything in the config (key=value)

{config}"""
CHOICES = """\
== Configuration groups ==
Compose your configuration from those groups (group=option)

{groups}


"""
PATH_KEYS = ("from", "replay", "data.root", "encoder.name")


def conf_folder() -> Path:
    """The YAML files: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return installed if (installed := package / "conf").is_dir() else package.parent / "conf"


def compose(config_name: str, arguments: Sequence[str], schema: type[Section] = TrainConfig) -> dict[str, Any]:
    """The values of `conf/<config_name>.yaml` under these arguments, as a command of xmc would see them.

    schema: what they are to be checked against; it tells which keys hold texts. It may be called from any thread, and
    inside an application of Hydra.

    Raises:
        XMCError: an argument is malformed or no such key exists, or a value is missing.
    """
    overrides = overrides_of(schema, arguments)
    check_keys(config_name, overrides, schema)
    with one_clear_error():
        return container(_composed(config_name, overrides))


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
        _check_known(given, keys_of(schema) | _groups())
        return
    for key in (override.key_or_group for override in given if override.key_or_group in _groups()):
        raise XMCError(f"{key}: a run has chosen it; single keys may be others where the command has {key}.*")
    _check_known(given, keys_of(schema))


def check_keys(config_name: str, overrides: Sequence[str], schema: type[Section]) -> None:
    """Name the near miss of a mistyped key or choice before Hydra refuses it."""
    given = parse_overrides(overrides)
    choices = [override for override in given if _is_choice(override)]
    if not given or not issubclass(schema, TrainConfig):
        check_names(overrides, schema)
        return
    _check_choices(choices)
    with one_clear_error():
        cfg = _composed(config_name, [o.input_line for o in choices if o.input_line is not None])
    _check_known(given, _keys(cfg) | _groups())


def _check_choices(choices: Iterable[Override]) -> None:
    for override in choices:
        group, value = conf_folder() / override.key_or_group, override.value()
        options = [str(path.relative_to(group).with_suffix("")) for path in group.rglob("*.yaml")]
        for chosen in value if isinstance(value, list) else [value]:
            if str(chosen) not in options:
                raise XMCError(f"{override.key_or_group}: got {chosen!r}{near_miss(str(chosen), options)}")


def _check_known(given: Sequence[Override], known: Set[str]) -> None:
    for override in given:
        key = override.key_or_group
        if not (override.is_force_add() or key in known or key in HYDRA_KEYS):
            raise XMCError(f"{key}: unknown key{near_miss(key, sorted(known))}")


def _groups() -> set[str]:
    return {str(path.relative_to(conf_folder())) for path in conf_folder().rglob("*") if path.is_dir()}


def help_text(title: str, config_name: str, overrides: Sequence[str], schema: type[Section]) -> str:
    """The keys of a command under these overrides and, of a run, the choices. Hydra's own help takes two seconds."""
    with one_clear_error():
        cfg = _composed(config_name, [override for override in overrides if not override.startswith("-")])
        config = OmegaConf.to_yaml(cfg, resolve="--resolve" in overrides)
    choices = CHOICES.format(groups=_choices()) if issubclass(schema, TrainConfig) else ""
    return HELP.format(title=title, choices=choices, config=config)


def _choices() -> str:
    """A line for each group of `conf/`, with what may be chosen."""
    lines = []
    for group in sorted(_groups()):
        if names := sorted(path.stem for path in (conf_folder() / group).glob("*.yaml")):
            lines.append(f"{group}: {', '.join(names)}")
    return "\n".join(lines)


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


def _composed(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Without a trace in Hydra's state, which may be that of the caller's own application."""
    with reading:
        outer, base = GlobalHydra.instance(), VersionBase.instance()
        GlobalHydra.set_instance(type.__call__(GlobalHydra))  # a new one, where calling it gives the one there is
        VersionBase.set_instance(type.__call__(VersionBase))
        try:
            with hydra.initialize_config_dir(str(conf_folder().absolute()), version_base="1.3"):
                return hydra.compose(config_name, overrides=list(overrides))
        finally:
            GlobalHydra.set_instance(outer)
            VersionBase.set_instance(base)


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
