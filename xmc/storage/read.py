"""Reading back what was written, or one clear error."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import xxhash

from xmc.errors import XMCError

_DEEPEST = 100
_AGAIN = "is it complete? Copy it again, or make it anew"
_LFS = b"version https://git-lfs.github.com/spec/"


def digest(path: Path) -> str:
    """Of a file's content. It is no proof against malice, and nearly as fast as the file can be read.

    Raises:
        XMCError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text in UTF-8; `where` is its file, or its file:line.

    Raises:
        XMCError: it is no JSON, names a key twice in one object, is nested deep, or has a number of 5,000 digits.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise XMCError(f"{where}: the key {twice!r} stands twice in an object; rename or remove one")
        return value

    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(decoded, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        around = error.doc[max(0, error.pos - 20) : error.pos + 40].strip()
        raise XMCError(f"{where}: malformed JSON, {error.msg} at column {error.colno}: {around!r}") from None
    except RecursionError:
        raise _too_deep(where) from None
    except UnicodeDecodeError as error:
        raise XMCError(f"{where}: malformed JSON, not UTF-8 ({error.reason} at byte {error.start})") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise XMCError(f"{where}: malformed JSON, {str(error).partition(';')[0]}") from None
    if decoded.count("[") + decoded.count("{") > _DEEPEST and _is_deep(value):
        raise _too_deep(where)
    return value


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
    try:
        value = parse_json(text, str(path))
    except XMCError as error:
        raise XMCError(f"{error}; {_AGAIN}") from None
    if not isinstance(value, kind):
        expected = "object" if kind is dict else "array"
        raise XMCError(f"{path}: holds {value!r:.40}; expected a JSON {expected}; {_AGAIN}")
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
    return XMCError(f"{path} cannot be read ({reason}); {_AGAIN}")


def _too_deep(where: str) -> XMCError:
    return XMCError(f"{where}: malformed JSON, nested too deep; at most {_DEEPEST} levels are read")


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST + 1):
        level = [
            below
            for holder in level
            if isinstance(holder, dict | list)
            for below in (holder.values() if isinstance(holder, dict) else holder)
        ]
    return bool(level)
