"""Bytes of a file, changed at random."""

import random
import re
from collections.abc import Callable

Mutation = Callable[[random.Random, bytes], bytes]

ODD = [
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        "\u2028\u202e\x1b[2J\u009b".encode(),
    ),
    *(b'"', b"'", b"\\", b"\t", b"\r", b"\n\n", b"\r\n", b";", b",", b":", b"{", b"}", b"null", b"true", b"{}", b"[]"),
    *(b"[" * 30_000, b'{"a":' * 30_000, b"a" * 200_000, b"NaN", b"-Infinity", b"1e999", b"-1", b"0x10", b"1_0", b"1.5"),
    *(b"2147483648", b"18446744073709551616", b"9" * 5000, "\u0663".encode(), b"${oc.env:XMC_CANARY_SECRET}", b"%s%n"),
]


def mutate(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """The name of a mutation drawn at random, and what it makes of the content."""
    name = rng.choice(sorted(MUTATIONS))
    return name, MUTATIONS[name](rng, content)


def _span(rng: random.Random, content: bytes) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice([1, 2, 8, 64, 1024]))


def _bit(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content or b"\x00")
    for _ in range(rng.choice([1, 1, 8])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _without(rng: random.Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + content[end:]


def _twice(rng: random.Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:end] + content[start:end] + content[end:]


def _noise(rng: random.Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + rng.randbytes(end - start) + content[end:]


def _odd(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(ODD) + content[place:]


def _number(rng: random.Random, content: bytes) -> bytes:
    """A number replaced by an odd one."""
    numbers = list(re.finditer(rb"-?\d+", content))
    if not numbers:
        return _odd(rng, content)
    found = rng.choice(numbers)
    return content[: found.start()] + rng.choice(ODD[22:]) + content[found.end() :]


def _lines(rng: random.Random, content: bytes) -> bytes:
    """Lines swapped, one left out or one there twice."""
    lines = content.splitlines(keepends=True) or [b"\n"]
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(3):
        case 0:
            lines[one], lines[other] = lines[other], lines[one]
        case 1:
            del lines[one]
        case 2:
            lines.insert(one, lines[other])
    return b"".join(lines)


MUTATIONS: dict[str, Mutation] = {
    "flipped bits": _bit,
    "a span left out": _without,
    "a span twice": _twice,
    "a span of noise": _noise,
    "odd bytes put in": _odd,
    "an odd number": _number,
    "lines moved": _lines,
    "cut off": lambda rng, content: content[: rng.randrange(len(content) + 1)],
    "line ends of Windows": lambda rng, content: content.replace(b"\n", b"\r\n"),
    "line ends of old": lambda rng, content: content.replace(b"\n", b"\r"),
    "UTF-16": lambda rng, content: content.decode("latin-1").encode("utf-16"),
    "empty": lambda rng, content: rng.choice([b"", b"\n", b" \n\t\n"]),
}
