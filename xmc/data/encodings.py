"""Text that is not in UTF-8: what tells its encoding, and a guess where nothing does."""

import functools
import io
import logging
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import BinaryIO

from xmc.errors import XMCError

log = logging.getLogger(__name__)

_MARKS = {BOM_UTF32_LE: "utf-32", BOM_UTF32_BE: "utf-32", BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}
_WESTERN = "cp1252"
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
_SAMPLE = 1000  # lines


def marked(head: bytes) -> str | None:
    """The encoding that the first four bytes tell by a byte order mark, or by every second one being zero."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    if re.fullmatch(rb"([^\0]\0){2}", head, re.DOTALL):
        return "utf-16-le"
    return "utf-16-be" if re.fullmatch(rb"(\0[^\0]){2}", head, re.DOTALL) else None


def recoded(stream: BinaryIO, encoding: str, longest: int) -> Iterator[bytes]:
    """The lines in UTF-8; of a longer one a part of more than `longest` characters, and no more lines.

    Raises UnicodeDecodeError.
    """
    text = io.TextIOWrapper(stream, encoding, newline="\n")
    try:
        for line in iter(partial(text.readline, longest + 1), ""):
            yield line.encode("utf-8", "surrogatepass")
    finally:
        text.detach()


def decoded(lines: Iterator[tuple[int, bytes]], name: str, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """Number and text of each line: in UTF-8 or, if the first that is not ASCII is not in that either, in another.

    encoding: that other; None: it is guessed from the lines that follow, and logged. name: the file's.

    Raises XMCError for a line that is not in the encoding of those before it.
    """
    ascii_so_far = True
    for number, raw in lines:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if not ascii_so_far:
                raise _in_no(error, name, number) from None
            ahead = [(number, raw), *islice(lines, _SAMPLE)]
            sample = b"".join(raw for _, raw in ahead)
            if _NO_TEXT.search(sample):
                raise XMCError(
                    f"{name}:{number}: neither UTF-8 nor other text ({raw[:20]!r}); is it the right file?"
                ) from None
            found = encoding or guessed(sample)
            if encoding is None:
                _tell(name, number, found)
            yield from _decoded(chain(ahead, lines), name, found)
            return
        ascii_so_far = ascii_so_far and text.isascii()
        yield number, text


def guessed(raw: bytes) -> str:
    """The encoding of text that is not in UTF-8.

    Where at most a third of the letters are none of ASCII, it is that of Western Europe, which short texts do not tell
    from others; else what charset-normalizer takes it for.
    """
    try:
        text = raw.decode(_WESTERN)
    except UnicodeDecodeError:
        pass
    else:
        letters = [letter for letter in text if letter.isalpha()]
        if 3 * sum(not letter.isascii() for letter in letters) <= len(letters):
            return _WESTERN
    from charset_normalizer import from_bytes

    best = from_bytes(raw).best()
    return "latin-1" if best is None else best.encoding


@functools.cache
def _tell(name: str, number: int, encoding: str) -> None:
    """Once a process."""
    log.warning(
        "%s:%d: not UTF-8; read as %s, which is a guess: convert the file to UTF-8 if it is in another",
        *(name, number, encoding),
    )


def _decoded(lines: Iterator[tuple[int, bytes]], name: str, encoding: str) -> Iterator[tuple[int, str]]:
    for number, raw in lines:
        try:
            yield number, raw.decode(encoding)
        except UnicodeDecodeError as error:
            raise _in_no(error, name, number) from None


def _in_no(error: UnicodeDecodeError, name: str, number: int) -> XMCError:
    return XMCError(
        f"{name}:{number}: not in {error.encoding}, as the lines before it are ({error.reason}); convert the file to "
        "UTF-8, all of it"
    )
