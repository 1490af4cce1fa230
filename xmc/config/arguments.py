"""What a user types becomes what Hydra reads: texts as they are typed, and of Hydra's own settings a few."""

import re
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xmc.config.keys import is_text, is_texts
from xmc.config.typed import ARGUMENT, HYDRAS_OWN, flags_and_words, is_open, takes_data_anew
from xmc.errors import XMCError
from xmc.section import Section
from xmc.storage import home_expanded

HYDRA_KEYS = ("hydra.sweep.dir", "hydra.sweep.subdir")
"""Of Hydra's own settings those that xmc takes. Others run classes by name, read other folders or write elsewhere."""
LAUNCHER = "hydra/launcher"
LAUNCHERS = ("submitit_local", "submitit_slurm")
"""What may start the runs of a sweep in Hydra's stead, with settings of its own, `hydra.launcher.*`."""
SEPARATORS = ("text_separator", "label_separator", "delimiter")

reading = threading.RLock()
"""Held while Hydra reads or composes: its parser and its state are those of the whole process."""

_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def overrides_of(schema: type[Section], arguments: Sequence[str]) -> list[str]:
    """The arguments of a command as Hydra reads them. schema: of the command's configuration.

    The value of a key that holds a text is that text, whatever characters it has, unless it is quoted, null or, under
    `--multirun`, a sweep; so is each of a list of texts, and one that stands for such a list. `\\n` and `\\t` in a
    separator are what they stand for.

    Raises:
        XMCError: an argument is none, or one of Hydra's that xmc does not take.
    """
    flags, words = flags_and_words(schema, arguments)
    data_anew = takes_data_anew(schema, words)
    return [*flags, *(_read(schema, word, "--multirun" in flags, data_anew) for word in words)]


def is_hydras(key: str) -> bool:
    """Whether it is one of Hydra's settings that xmc takes."""
    return key in (*HYDRA_KEYS, LAUNCHER) or re.fullmatch(r"hydra\.launcher\.[a-z]\w*", key) is not None


def parse_overrides(arguments: Iterable[str]) -> list[Override]:
    """The overrides among arguments that Hydra reads. Raises XMCError where one is malformed."""
    return [_parsed(argument) for argument in arguments if not argument.startswith("-")]


def as_override(key: str, value: object) -> str:
    """`key=value` as Hydra reads it, from a string, number, boolean, None or list of these: data, no interpolation."""
    return f"{key}={_literal(value)}"


def _read(schema: type[Section], argument: str, sweeps: bool, data_anew: bool) -> str:
    """data_anew: as `takes_data_anew`."""
    found = ARGUMENT.fullmatch(argument)
    if found is None:
        return argument
    sign, key, value = found["sign"], found["key"], found["value"]
    if HYDRAS_OWN.match(key) and not is_hydras(key):
        own = ", ".join([*HYDRA_KEYS, LAUNCHER])
        raise XMCError(f"{key}: no setting of xmc; of Hydra's own there are: {own}")
    if key == LAUNCHER:
        _check_launcher(value, sweeps)
    if re.match("~(/|$)", value):
        value = str(home_expanded(value))
    if sign or is_open(schema, key, data_anew):
        sign = "++"  # as a key that may be there already or not
    listed = is_texts(schema, key)
    if is_text(schema, key) or (listed and not value.startswith("[")):
        value = _text(key, value, sweeps)
    elif listed and re.fullmatch(r"\[[^\]\['\"]+\]", value):
        value = f"[{','.join(_quoted(item.strip()) for item in value[1:-1].split(','))}]"
    return f"{sign}{key}={value}"


def _check_launcher(name: str, sweeps: bool) -> None:
    if name not in LAUNCHERS:
        raise XMCError(f"{LAUNCHER}: got {name!r:.80}; expected one of: {', '.join(LAUNCHERS)}")
    if not sweeps:
        raise XMCError(f"{LAUNCHER}={name} starts the runs of a sweep; add --multirun")
    if find_spec("submitit") is None:
        raise XMCError(f"{LAUNCHER}={name} needs the package hydra-submitit-launcher: pip install 'xmc[slurm]'")


def _text(key: str, value: str, sweeps: bool) -> str:
    """The text as typed, quoted, where Hydra would read anything else."""
    if value in ("", "null", "???"):
        return value
    given = None
    if sweeps or value[0] in "'\"":
        with suppress(XMCError):
            given = _parsed(f"{key}={value}")
    if given is not None and given.is_sweep_override():
        return value
    if given is not None and isinstance(given.value(), str) and value[0] in "'\"":
        value = str(given.value())
    if key.rpartition(".")[2] in SEPARATORS:
        value = re.sub(r"\\([nt\\])", lambda found: _ESCAPES[found[1]], value)
    return _quoted(value)


def _quoted(text: str) -> str:
    """Quoted for Hydra; what looks like an interpolation and is none stays as it is."""
    try:
        OmegaConf.create({"text": text})
    except OmegaConfBaseException:
        return _literal(text)
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _literal(value: object) -> str:
    match value:
        case str():
            plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
            return QuotedString(text=plain, quote=Quote.single).with_quotes()
        case list() | tuple():
            return f"[{','.join(map(_literal, value))}]"
        case None:
            return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parsed(argument: str) -> Override:
    try:
        with reading:
            return OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        told = str(error).partition("\n")[0]
        raise XMCError(f"{argument!r:.80} cannot be read ({told:.80}); write key=value, texts in quotes") from None
