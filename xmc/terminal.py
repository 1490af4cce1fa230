"""Text as people see it: what would steer a terminal or cannot be encoded is escaped, passwords are left out."""

import codecs
import io
import logging
import os
import re
import sys
from typing import TextIO

logger = logging.getLogger(__name__)

_STEERING = re.compile(  # C0 but for tab and newline, DEL, C1, line separators, and what turns the direction of writing
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
_PASSWORD = re.compile(r"(?<=://)([^\s/?#@:]*):[^\s/?#]*@")
_UP = re.compile("(\x1b\\[A)+")


def escaped(text: str) -> str:
    """The text with every character that steers a terminal as JSON and Python write it."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def without_passwords(text: str) -> str:
    """The text with `***` for the password of each address `scheme://user:password@host`."""
    return _PASSWORD.sub(r"\1:***@", text)


def open_standard_streams() -> None:
    """Lead standard output and error, where they are closed, to nowhere, and let no other file take their descriptors.

    `sys.stdin` stays None where it is closed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest descriptor that is free
            os.set_inheritable(nowhere, True)
            if number:
                setattr(sys, name, open(nowhere, "w", closefd=False))  # noqa: SIM115


def encode_everything() -> None:
    """Let characters that the encoding of standard output lacks be written as JSON escapes them, and tell it once."""
    encoding, told = sys.stdout.encoding, False

    def escape(error: UnicodeError) -> tuple[str, int]:
        nonlocal told
        if not isinstance(error, UnicodeEncodeError):
            raise error
        if not told:
            told = True
            logger.warning(
                "standard output is %s and lacks characters: they become \\u....; PYTHONIOENCODING=utf-8 keeps them",
                encoding,
            )
        units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end

    codecs.register_error("xmc.escape", escape)
    for stream, errors in ((sys.stdout, "xmc.escape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def guard() -> None:
    """Escape what is written to standard output and standard error, where they are terminals."""
    if sys.stdout.isatty() and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = guarded(sys.stdout, bars=False)
    if sys.stderr.isatty() and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = guarded(sys.stderr, bars=True)


def guarded(stream: io.TextIOWrapper, *, bars: bool) -> TextIO:
    """The stream of a terminal, with what is written to it escaped. bars: but for how tqdm moves to a bar's line."""
    return _Guarded(stream, bars)


class _Guarded(io.TextIOWrapper):
    def __init__(self, stream: io.TextIOWrapper, bars: bool) -> None:
        super().__init__(stream.buffer, stream.encoding, stream.errors, line_buffering=True)
        self._bars = bars

    def write(self, text: str) -> int:
        if self._bars and _UP.fullmatch(text):
            return super().write(text)
        start = "\r" if self._bars and text.startswith("\r") else ""
        super().write(start + escaped(text.removeprefix(start)))
        return len(text)
