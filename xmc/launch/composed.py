"""Hydra around a command: what was typed is composed and checked, and the command runs, once or for each of a sweep."""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from xmc.commands import load
from xmc.commands.command import Command
from xmc.config import parse, parse_run, resumed_values, run_config_path
from xmc.config.arguments import as_override, overrides_of, parse_overrides
from xmc.config.choices import conf_folder
from xmc.config.compose import check_keys, container, one_clear_error, values_of, values_under
from xmc.config.nodes import JOB_NAME, ROOT, registered
from xmc.config.shell import shell_command
from xmc.endings import AGAIN, one_line
from xmc.errors import XMCError
from xmc.job import place
from xmc.section import Section


def run(name: str, command: Command[Any], arguments: Sequence[str]) -> None:
    """Run a command on what was typed behind its name."""
    if (size := place().size) > 1 and not command.several:
        raise XMCError(f"{size} processes were started, and xmc {name} is for one alone; leave torchrun out")
    overrides = _overrides(command, arguments)
    check_keys(overrides, command.schema)
    overrides += _only_what_is_swept(overrides)
    trained: list[str] = []
    sys.argv = [f"xmc {name}", *overrides]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # hand errors through instead of wrapping them

    def task(cfg: DictConfig) -> None:
        with one_line(name, lambda: _way_on(command, cfg)):  # Hydra would print a traceback around an XMCError
            given = [override.key_or_group for override in parse_overrides(HydraConfig.get().overrides.task)]
            config = _checked(command, cfg, given)
            command.run(config, given)
        trained.append(cfg.get("run", ""))

    OmegaConf.register_new_resolver(JOB_NAME, _job_name, replace=True)
    with one_clear_error(), registered(command.schema):
        hydra.main(config_path=str(conf_folder()), config_name=ROOT, version_base="1.3")(task)()
    if "--multirun" in overrides and len(trained) > 1:
        _compare(trained)


def _only_what_is_swept(overrides: Sequence[str]) -> list[str]:
    """Of a sweep, what makes the names of its jobs' folders name the keys that differ, and these alone."""
    if "--multirun" not in overrides:
        return []
    same = {override.key_or_group for override in parse_overrides(overrides) if not override.is_sweep_override()}
    return [as_override("hydra.job.config.override_dirname.exclude_keys", sorted(same))]


def _job_name(differing: str) -> str:
    return re.sub(r"[^\w=.,+-]", "-", differing.replace("'", "")) or "0"


def _compare(runs: Sequence[str]) -> None:
    """Set the runs of a sweep side by side, where they were measured."""
    if all((Path(run) / "metrics-dev.json").is_file() for run in runs):
        compare = load("compare")
        compare.run(compare.schema(runs=tuple(runs)), ())


def values(command: Command[Any], words: Sequence[str]) -> dict[str, Any]:
    """What the keys of a command would be under these words, nested, `???` where one must be given."""
    overrides = _overrides(command, words)
    check_keys(overrides, command.schema)
    return values_under(overrides, command.schema)


def _overrides(command: Command[Any], arguments: Sequence[str]) -> list[str]:
    """As Hydra reads them, with those that something else decides."""
    typed = overrides_of(command.schema, arguments)
    flags = [argument for argument in typed if argument.startswith("-")]  # argparse wants what is no flag together
    return [*flags, *command.inherited(typed), *typed[len(flags) :]]


def _checked(command: Command[Any], cfg: DictConfig, given: Sequence[str]) -> Section:
    """The configuration of a command; of a run that goes on, as it was saved.

    A run that torchrun has started anew goes on, too, since its processes are given the same command again.
    """
    if command.begins_run and HydraConfig.get().mode == RunMode.MULTIRUN:
        if place().size > 1:
            raise XMCError("--multirun starts runs of one process, one after the other; leave torchrun out")
        cfg.run = HydraConfig.get().runtime.output_dir
        cfg.resume = cfg.resume and run_config_path(cfg.run).is_file()  # others of a sweep that goes on begin
    if command.begins_run and not cfg.resume and place().restarts and run_config_path(cfg.run).is_file():
        return parse_run(resumed_values(values_of(cfg), []))
    if not (command.begins_run and (cfg.resume or cfg.finish)):
        return parse(command.schema, container(cfg))
    return parse_run(resumed_values(values_of(cfg), [key.replace("/", ".") for key in given]))


def _way_on(command: Command[Any], cfg: DictConfig) -> str:
    if command.begins_run and HydraConfig.get().mode == RunMode.MULTIRUN:
        return "go on with this run and those behind it: give the command again with resume=true"
    with suppress(OSError):  # no folder could have such a name
        if command.begins_run and run_config_path(cfg.run).is_file():
            return f"go on with: {shell_command('train', run=cfg.run, resume=True)}"
    return AGAIN
