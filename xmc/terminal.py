"""Text as people see it: what would steer a terminal is escaped, and passwords in addresses are left out."""

import io
import re
import sys
from typing import TextIO

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
