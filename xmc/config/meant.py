"""What was meant by what is no argument of a command."""

import re
from collections.abc import Sequence
from pathlib import Path

from xmc.config.keys import keys_of
from xmc.registry import Registry
from xmc.section import Section, named

_SHOWN = 6  # choices in a message
_INSTEAD = {
    "trainer.devices": "several devices train one run as several processes: torchrun --nproc-per-node=4 -m xmc train",
}


def flag_meant(schema: type[Section], flag: str, following: str) -> str:
    """Of a flag that is none, such as `--epochs`, and the argument behind it: `; ...` with the key, if there is one."""
    name = flag.lstrip("-").replace("-", "_")
    keys = [key for key in keys_of(schema) if name in (key, key.rpartition(".")[2])]
    found = sorted(keys, key=lambda key: (key.count("."), key))
    value = "..." if not following or following.startswith("-") or "=" in following else following
    return f"; keys have no dashes: did you mean {found[0]}={value}?" if found else ""


def words_meant(schema: type[Section], words: Sequence[str], plain: Sequence[str]) -> str:
    """Of words that are no `key=value`, among all that were typed: `; ...` with what was meant."""
    for place, word in enumerate(words):
        for opening, closing in ("[]", "{}"):
            if word.count(opening) > word.count(closing):
                end = next((i for i in range(place, len(words)) if words[i].endswith(closing)), len(words) - 1)
                whole = " ".join(words[place : end + 1])
                return f'; what has spaces is one argument in quotes: "{whole}"'
    if plain == ["help"]:
        return "; did you mean --help?"
    keys = [name for name in ("run", "from", "input") if name in named(schema)]
    if not keys or len(plain) > len(keys) or not all(re.fullmatch(r"[\w./~-]+", word) for word in plain):
        return "; write key=value"
    if len(plain) == 1 and Path(plain[0]).is_file() and "input" in keys:
        keys = ["input"]
    return f"; did you mean {' '.join(f'{key}={word}' for key, word in zip(keys, plain, strict=False))}?"


def choice_meant(key: str, registry: Registry[Section], chosen: str | None) -> str | None:
    """Of a key that the part chosen lacks: which others of its kind have it. None: none has.

    chosen: its name; None: the default.
    """
    prefix = registry.group.replace("/", ".") + "."
    if not key.startswith(prefix):
        return None
    having = [name for name in registry.names() if key.removeprefix(prefix) in keys_of(registry[name])]
    if not having:
        return None
    taken = "" if chosen is None else _keys_told(registry, chosen)
    part = f"the default of {registry.group}" if chosen is None else f"{registry.group}={chosen}"
    shown = ", ".join(having[:_SHOWN]) + (", ..." if len(having) > _SHOWN else "")
    return f"{key}: {part} has no such key; it is one of {registry.group}={shown}{taken}"


def _keys_told(registry: Registry[Section], chosen: str) -> str:
    """The keys that a part has of its own."""
    others = [set(named(registry[name])) for name in registry.names() if name != chosen]
    own = [key for key in named(registry[chosen]) if not all(key in other for other in others)]
    return f"; {chosen} has: {', '.join(own[:_SHOWN])}" if own else ""


def instead(key: str) -> str | None:
    """What does what a key that other tools have would do."""
    return _INSTEAD.get(key)
