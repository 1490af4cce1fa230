"""What is typed behind a command, read without Hydra: flags and words, and whether the names in these exist.

So help and a mistyped name are answered before anything is imported that takes long.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from types import MappingProxyType

from xmc.config.choices import groups, options_of, registries
from xmc.config.keys import keys_of, names_freely, takes_data
from xmc.config.meant import choice_meant, flag_meant, instead, words_meant
from xmc.config.run import TrainConfig
from xmc.errors import XMCError
from xmc.registry import Registry
from xmc.section import Section
from xmc.spelling import near_miss

FLAGS = {"--help": "-h", "--multirun": "-m", "--cfg": "-c", "--resolve": "", "--package": "-p"}
"""Of Hydra's flags those that xmc takes, and their short forms."""
WITH_WORD = ("--cfg", "--package")
SHOWN = ("job", "hydra", "all")
"""What `--cfg` shows."""
ARGUMENT = re.compile(r"(?P<sign>\+{0,2})(?P<key>[^=+~-][^=]*)=(?P<value>.*)", re.DOTALL)
HYDRAS_OWN = re.compile(r"hydra[./@]")

_NOTHING: Mapping[str, Registry[Section]] = MappingProxyType({})


def flags_and_words(schema: type[Section], arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags, in their long form with the word that belongs to each, and the others.

    Raises:
        XMCError: a flag is unknown or does not go with the others, or a word is no key=value.
    """
    flags, words, rest = [], [], iter(arguments)
    long = {short: name for name, short in FLAGS.items() if short}
    for argument in rest:
        given, equals, word = argument.partition("=")
        name = long.get(given, given)
        if not argument.startswith("-"):
            words.append(argument)
        elif name not in FLAGS:
            meant = flag_meant(schema, given, word or next(rest, ""))
            told = meant or f"; expected one of: {', '.join(FLAGS)}, or key=value"
            raise XMCError(f"{given}: unknown flag{told}")
        elif name in WITH_WORD:
            word = word if equals else next(rest, "")
            if name == "--cfg" and word not in SHOWN:
                raise XMCError(f"--cfg: got {word!r}; expected one of: {', '.join(SHOWN)}")
            flags.append(f"{name}={word}")
        else:
            flags.append(name)
    _check_together([flag.partition("=")[0] for flag in flags])
    if plain := [word for word in words if not (ARGUMENT.fullmatch(word) or word.startswith("~"))]:
        raise XMCError(f"{plain[0]!r:.80} is no key=value{words_meant(schema, words, plain)}")
    return flags, words


def _check_together(flags: Sequence[str]) -> None:
    """Raise XMCError for flags that Hydra does not take together, or not alone."""
    if "--resolve" in flags and not {"--cfg", "--help"} & set(flags):
        raise XMCError("--resolve belongs to --cfg; add --cfg job")
    if {"--multirun", "--cfg"} <= set(flags):
        raise XMCError("--cfg shows one configuration, and --multirun runs several; leave one of them out")


def check_spelling(schema: type[Section], words: Iterable[str]) -> None:
    """Refuse a mistyped choice or key where no preset and no sweep has a say in what keys there are.

    Raises:
        XMCError: as `xmc.config.compose.check_keys`, which sees the others.
    """
    found = [match for word in words if (match := ARGUMENT.fullmatch(word)) and not match["sign"]]
    free = takes_data_anew(schema, words)
    given = {match["key"]: match["value"] for match in found if not is_open(schema, match["key"], free)}
    if not issubclass(schema, TrainConfig):
        check_known((key for key in given if key not in groups()), keys_of(schema))
        return
    chosen = {key: value for key, value in given.items() if key in groups()}
    if not all(re.fullmatch(r"[\w./-]+", name) for name in chosen.values()):
        return
    for group, name in chosen.items():
        check_choice(group, name)
    parts = {registry.group: registry for registry in registries()}
    if "from" in given:  # which decides the parts
        check_known(given, keys_of(schema) | groups())
    elif all(group in parts and name in parts[group].names() for group, name in chosen.items()):
        check_known(given, keys_of(schema, chosen) | groups(), chosen, parts)


def takes_data_anew(schema: type[Section], words: Iterable[str]) -> bool:
    """Whether the data is that of a run, of any kind, so that its keys need not be there."""
    resumes = r"\+*(resume=true|finish=now)"
    return takes_data(schema) or any(re.fullmatch(resumes, word, re.IGNORECASE) for word in words)


def is_open(schema: type[Section], key: str, data_anew: bool) -> bool:
    """Whether the schema alone does not tell if there is such a key."""
    return (key.startswith("data.") and data_anew) or names_freely(schema, key)


def check_choice(group: str, chosen: str) -> None:
    """Raise XMCError where a group has no such choice."""
    if chosen not in (options := options_of(group)):
        meant = near_miss("none" if chosen == "null" else chosen, options)
        raise XMCError(f"{group}: got {chosen!r}{meant}")


def check_known(
    keys: Iterable[str],
    known: Set[str],
    chosen: Mapping[str, str] = MappingProxyType({}),
    parts: Mapping[str, Registry[Section]] = _NOTHING,
) -> None:
    """Raise XMCError for the first key that there is not.

    chosen: the parts under which these are the keys, by their groups; parts: what could have been.
    """
    for key in keys:
        if not (key in known or HYDRAS_OWN.match(key)):
            lacking = (choice_meant(key, registry, chosen.get(group)) for group, registry in parts.items())
            told = instead(key)
            unknown = f"{key}: unknown key{near_miss(key, sorted(known)) if told is None else f'; {told}'}"
            raise XMCError(next(filter(None, lacking), unknown))
