"""`xmc <command> [overrides]`: the command is looked up, and Hydra runs it."""

import logging
import sys
from importlib.metadata import version
from pathlib import Path

from xmc.commands import COMMANDS, load
from xmc.endings import AGAIN, one_line, stoppable, undisturbed
from xmc.errors import XMCError
from xmc.job import place
from xmc.spelling import near_miss
from xmc.terminal import encode_everything, guard

HELP = """\
xmc: text classifiers with up to millions of labels on one ordinary machine

usage: xmc <command> [key=value ...]

commands:
{commands}

xmc <command> --help shows its keys and choices; --cfg job prints the composed configuration.
xmc train --multirun seed=0,1,2 runs a sweep.
xmc completion bash (zsh, fish) prints what lets the shell complete commands, keys and choices.
"""


@stoppable()
def main() -> None:
    """Entry point of the `xmc` command. Exit status: 0 done, 1 one clear error, 128 + n stopped by signal n."""
    arguments = sys.argv[1:]
    if arguments[0:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP.format(commands="\n".join(f"  {name:<18}{text}" for name, text in COMMANDS.items())))
        return
    if arguments[0] in ("-V", "--version"):
        print(f"xmc {version('xmc')}")
        return
    command, *rest = arguments
    encode_everything()
    guard()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    for noisy in ("datasets", "transformers", "huggingface_hub", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with one_line(command, lambda: AGAIN):
        if not place().is_first:
            logging.getLogger().setLevel(logging.ERROR)
        if command == "completion":
            with undisturbed():
                from xmc.launch.completion import completion

            print(completion(rest), end="")
            return
        if command not in COMMANDS:
            raise XMCError(f"{command!r} is no command of xmc{near_miss(command, list(COMMANDS))}")
        _check_working_directory()
        with undisturbed():
            from xmc.launch import launch

            found = load(command)
        launch(command, COMMANDS[command], found, rest)
        sys.stdout.flush()


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except OSError:
        raise XMCError("the working directory is no longer there; change into another") from None
