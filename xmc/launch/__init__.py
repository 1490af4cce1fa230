"""A command on what was typed behind it: help and misspelt names are answered at once, Hydra runs the rest."""

from collections.abc import Sequence
from typing import Any

from xmc.commands.command import Command
from xmc.config.help import help_text
from xmc.config.typed import check_spelling, flags_and_words
from xmc.endings import undisturbed


def launch(name: str, about: str, command: Command[Any], arguments: Sequence[str]) -> None:
    """Run a command of xmc on what was typed behind its name. about: what its help tells of it."""
    flags, words = flags_and_words(command.schema, arguments)
    check_spelling(command.schema, words)
    title = f"xmc {name}: {about}\n\nusage: xmc {name} [key=value ...]"
    if "--help" in flags and not words:
        print(help_text(title, command.schema, command.often, command.parts))
        return
    with undisturbed():
        from xmc.launch.composed import run, values

    if "--help" in flags:
        print(help_text(title, command.schema, command.often, command.parts, values(command, words)))
    else:
        run(name, command, arguments)
