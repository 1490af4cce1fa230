"""Lines that are read as they arrive."""

import io
import os
import select
import stat
import sys
from typing import BinaryIO

_PART = 1 << 16  # bytes read at a time
_LINE_FEED = b"\n"


class Arriving(io.BufferedIOBase):
    """Lines of a pipe or a terminal, of which can be told whether the next one is there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = bytearray()
        self._searched = 0  # bytes of it that have no line feed
        self._ended = False

    def readline(self, size: int | None = -1) -> bytes:
        """The next line, or its first `size` bytes; empty at the end."""
        limit = sys.maxsize if size is None or size < 0 else size
        while (end := self._end_of_line()) < 0 and len(self._held) < limit and not self._ended:
            self._read()
        return self._taken(min(len(self._held) if end < 0 else end, limit))

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        """The first bytes of what comes, so many where the first line has them."""
        while len(self._held) < size and self._end_of_line() < 0 and not self._ended:
            self._read()
        return bytes(self._held[:size])

    def read1(self, size: int = -1) -> bytes:
        """What is held, or else what comes next, of it `size` bytes at most."""
        if not self._held and not self._ended:
            self._read()
        return self._taken(len(self._held) if size < 0 else min(size, len(self._held)))

    def ready(self) -> bool:
        """Whether a whole line is there, or the end, so that `readline` would not wait."""
        while (end := self._end_of_line()) < 0 and not self._ended:
            if not select.select([self._descriptor], [], [], 0)[0]:
                return False
            self._read()
        return end >= 0 or self._ended

    def _taken(self, length: int) -> bytes:
        part = bytes(self._held[:length])
        del self._held[:length]
        self._searched = 0
        return part

    def _end_of_line(self) -> int:
        """Bytes of the first line that is held, -1 where none is whole."""
        found = self._held.find(_LINE_FEED, self._searched)
        if found < 0:
            self._searched = len(self._held)
            return -1
        return found + 1

    def _read(self) -> None:
        part = os.read(self._descriptor, _PART)
        self._held += part
        self._ended = not part


def standard_input() -> BinaryIO | Arriving:
    """Standard input; as it arrives where it is no file."""
    stream = sys.stdin.buffer
    try:
        descriptor = stream.fileno()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return stream
    except (OSError, ValueError):  # a stream of Python's own
        return stream
    return Arriving(descriptor)
