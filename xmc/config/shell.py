"""Commands as we print them: a shell takes them, and xmc after it, whatever characters a path has."""

import re
import shlex

from xmc.config.arguments import as_override

_NOT_AS_TYPED = re.compile(r"""['"~]|.*\$\{|(null|\?\?\?)?$""", re.DOTALL)


def shell_command(command: str, **values: object) -> str:
    """`xmc <command> key=value ...`, to be pasted."""
    return shlex.join(["xmc", command, *(_word(key, value) for key, value in values.items())])


def shell_argument(key: str, value: object) -> str:
    """`key=value`, to be pasted behind a command."""
    return shlex.quote(_word(key, value))


def _word(key: str, value: object) -> str:
    typed = isinstance(value, str) and not _NOT_AS_TYPED.match(value)
    return f"{key}={value}" if typed else as_override(key, value)
