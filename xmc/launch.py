"""Hydra around a command: what was typed is composed and checked, and the command runs, once or for each of a sweep."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from xmc.commands.command import Command
from xmc.config import parse, parse_run, resumed_values, run_config_path
from xmc.config.arguments import overrides_of, parse_overrides
from xmc.config.compose import check_keys, conf_folder, container, help_text, one_clear_error, values_of
from xmc.config.nodes import ROOT, registered
from xmc.config.shell import shell_command
from xmc.endings import AGAIN, one_line
from xmc.errors import XMCError
from xmc.job import place
from xmc.section import Section


def launch(name: str, about: str, command: Command[Any], arguments: Sequence[str]) -> None:
    """Run a command of xmc on what was typed behind its name. about: what its help tells of it."""
    typed = overrides_of(command.schema, arguments)
    if (size := place().size) > 1 and not command.several:
        raise XMCError(f"{size} processes were started, and xmc {name} is for one alone; leave torchrun out")
    flags = [argument for argument in typed if argument.startswith("-")]  # argparse wants what is no flag together
    overrides = [*flags, *command.inherited(typed), *typed[len(flags) :]]
    check_keys(overrides, command.schema)
    if "--help" in overrides:
        print(help_text(f"xmc {name}: {about}", overrides, command.schema))
        return
    sys.argv = [f"xmc {name}", *overrides]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # hand errors through instead of wrapping them

    def task(cfg: DictConfig) -> None:
        with one_line(name, lambda: _way_on(command, cfg)):  # Hydra would print a traceback around an XMCError
            given = [override.key_or_group for override in parse_overrides(HydraConfig.get().overrides.task)]
            command.run(_checked(command, cfg, given), given)

    with one_clear_error(), registered(command.schema):
        hydra.main(config_path=str(conf_folder()), config_name=ROOT, version_base="1.3")(task)()


def _checked(command: Command[Any], cfg: DictConfig, given: Sequence[str]) -> Section:
    """The configuration of a command; of a run that goes on, as it was saved.

    A run that torchrun has started anew goes on, too, since its processes are given the same command again.
    """
    if command.begins_run and HydraConfig.get().mode == RunMode.MULTIRUN:
        if place().size > 1:
            raise XMCError("--multirun starts runs of one process, one after the other; leave torchrun out")
        cfg.run = HydraConfig.get().runtime.output_dir
    if command.begins_run and not cfg.resume and place().restarts and run_config_path(cfg.run).is_file():
        return parse_run(resumed_values(values_of(cfg), []))
    if not (command.begins_run and cfg.resume):
        return parse(command.schema, container(cfg))
    return parse_run(resumed_values(values_of(cfg), [key.replace("/", ".") for key in given]))


def _way_on(command: Command[Any], cfg: DictConfig) -> str:
    with suppress(OSError):  # no folder could have such a name
        if command.begins_run and run_config_path(cfg.run).is_file():
            return f"go on with: {shell_command('train', run=cfg.run, resume=True)}"
    return AGAIN
