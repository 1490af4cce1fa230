"""The objects of a JSON array, one at a time, whether it stands in one line or in many."""

import json
import re
from collections.abc import Iterable, Iterator

from xmc.errors import XMCError

_decoder = json.JSONDecoder()
_BLANK = " \t\r\n"
_END = re.compile(r"\s*\[?\s*\]\s*")


def array_items(lines: Iterable[tuple[int, str]], name: str) -> Iterator[tuple[int, str]]:
    """The line in which each object begins, and its text. name: the file's.

    No more is held than the lines of one object. Raises XMCError for what makes the rest of the file unreadable.
    """
    pending: list[str] = []
    first, before = 1, "["
    for number, line in lines:
        first = first if pending else number
        pending.append(line)
        if not line.rstrip(f"{_BLANK},]").endswith("}"):
            continue
        text, place = "\n".join(pending), 0
        while (begin := _begin(text, place, before)) is not None:
            where = f"{name}:{first + text.count(chr(10), 0, begin)}"
            try:
                end = _decoder.raw_decode(text, begin)[1]
            except json.JSONDecodeError as error:
                if error.pos >= len(text.rstrip()):
                    break
                raise XMCError(f"{where}: malformed JSON, {error.msg}: {text[error.pos :][:40]!r}") from None
            except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
                raise XMCError(f"{where}: malformed JSON, nested too deep or with a number too long") from None
            yield first + text.count("\n", 0, begin), text[begin:end]
            place, before = end, ","
        first += text.count("\n", 0, place)
        pending = text[place:].split("\n")
    if not _END.fullmatch(rest := "\n".join(pending)):
        found = rest.strip(f"{_BLANK},[")
        raise XMCError(f"{name}:{first}: malformed JSON, expected an array of objects to its end, found {found!r:.40}")


def _begin(text: str, place: int, before: str) -> int | None:
    """Where the next object begins, behind the bracket or the comma before it; None where there is none yet."""
    found = re.compile(rf"\s*{re.escape(before)}\s*(?=\{{)").match(text, place)
    return found.end() if found else None
