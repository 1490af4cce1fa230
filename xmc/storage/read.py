"""Reading back what was written, or one clear error."""

import json
from pathlib import Path
from typing import Any

from xmc.types import XMCError

_LFS = b"version https://git-lfs.github.com/spec/"


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text; `where` is its file, or its file:line.

    Raises:
        XMCError: it is no JSON, is nested deeper than Python reads, or has a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        around = error.doc[max(0, error.pos - 20) : error.pos + 40].strip()
        raise XMCError(f"{where}: malformed JSON, {error.msg} at column {error.colno}: {around!r}") from None
    except RecursionError:
        raise XMCError(f"{where}: malformed JSON, nested too deep") from None
    except UnicodeDecodeError as error:
        raise XMCError(f"{where}: malformed JSON, not UTF-8 ({error.reason} at byte {error.start})") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise XMCError(f"{where}: malformed JSON, {str(error).partition(';')[0]}") from None


def read_json(path: Path, kind: type = dict) -> Any:
    """The value of a JSON file that xmc wrote, a `kind` (dict or list).

    Raises:
        XMCError: the file cannot be read, or holds anything else.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    if text.startswith(_LFS):
        raise unreadable(path, "")
    value = parse_json(text, str(path))
    if not isinstance(value, kind):
        raise XMCError(f"{path}: holds {value!r:.40}; expected a JSON {'object' if kind is dict else 'array'}")
    return value


def unreadable(path: Path, reason: object) -> XMCError:
    """The error of a file that cannot be read; of a Git-LFS pointer in its place, what to do about it."""
    try:
        with open(path, "rb") as stream:
            pointer = stream.read(len(_LFS)) == _LFS
    except OSError:
        pointer = False
    if pointer:
        return XMCError(f"{path} is a Git-LFS pointer and not the file itself; fetch it with `git lfs pull`")
    if isinstance(reason, OSError):
        reason = reason.strerror or reason
    return XMCError(f"{path} cannot be read ({reason}); is it complete? Copy it again, or make it anew")
