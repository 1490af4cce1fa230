"""Numbers and texts that are read, within bounds that the parts below can count and allocate by."""

import codecs
import re
from glob import glob, has_magic
from itertools import pairwise
from os.path import isdir, isfile, join
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

_WHOLE = re.compile("-?[0-9]{1,18}")
LARGEST = 2**31 - 1  # what int32 counts

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Number = Annotated[float, Field(ge=-1e30, le=1e30)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
NonNegative = Annotated[float, Field(ge=0, le=1e30)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Size = Annotated[int, Field(ge=0, le=LARGEST)]
Cutoff = Annotated[int, Field(ge=1, le=100_000)]  # of a list of labels
Port = Annotated[int, Field(ge=0, le=65535)]
Threads = Annotated[int, Field(ge=1, le=1024)]
OwnThreads = Annotated[Threads | None, Field(description="CPU threads; null: one a core that the process may use")]
Seed = Annotated[int, Field(ge=0, lt=2**64)]  # what torch takes
Text = Annotated[str, Field(min_length=1)]
Character = Annotated[str, Field(min_length=1, max_length=1)]
LossName = Literal["bce", "squared_hinge"]
PredictionFormat = Literal["jsonl", "csv", "parquet", "scores", "annif"]
Divide = Annotated[
    Literal["documents", "labels"],
    Field(
        description="of several processes (torchrun): each has the model, or its labels alone where one device cannot "
        "hold them"
    ),
]


def _ascending(ks: tuple[int, ...]) -> tuple[int, ...]:
    if any(right <= left for left, right in pairwise(ks)):
        raise PydanticCustomError("unsorted", "cut-offs should ascend, each standing once")
    return ks


OneOrMore = BeforeValidator(lambda given: [given] if isinstance(given, str | int) and given != "" else given)
"""Of a list: what stands alone is a list of one."""
Texts = Annotated[tuple[str, ...], OneOrMore]
Cutoffs = Annotated[tuple[Cutoff, ...], Field(min_length=1), OneOrMore, AfterValidator(_ascending)]


def _device(name: str) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", name):
        return name
    raise PydanticCustomError("device", "give auto, cpu, cuda, or one of several GPUs as cuda:1")


Device = Annotated[str, AfterValidator(_device), Field(description="auto | cpu | cuda | cuda:1, one of several GPUs")]
"""auto: a GPU, where there is one."""


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise PydanticCustomError("encoding", "give one that Python knows, such as cp1252 or shift_jis") from None


Encoding = Annotated[str, AfterValidator(_encoding)]


def _folders(given: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns, such as runs/sweep/*, become the folders of runs that they match, sorted; others stay as they are."""
    found: list[str] = []
    for name in given:
        matching = sorted(path for path in glob(name) if isfile(join(path, "config.yaml"))) if has_magic(name) else []
        if not matching and has_magic(name) and not isdir(name):
            raise PydanticCustomError("pattern", "no run matches it: expected folders that hold a config.yaml")
        found += matching or [name]
    return tuple(found)


Folders = Annotated[tuple[str, ...], OneOrMore, AfterValidator(_folders)]


def _threshold(value: object) -> object:
    if value in (None, "auto") or (isinstance(value, int | float) and 0 <= value <= 1):
        return value
    raise ValueError(f"threshold: got {value!r}; give auto, a probability from 0 to 1, or null for the k best labels")


Threshold = Annotated[float | Literal["auto"] | None, BeforeValidator(_threshold)]
"""Probability that a label needs; auto: as it was calibrated."""


def whole_number(text: str) -> int:
    """The number that a text of a few ASCII digits is, maybe behind a minus.

    Raises ValueError for anything else; `int` takes `1_0` for 10, and the digits of any script.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r:.40} is no whole number")
    return int(text)
