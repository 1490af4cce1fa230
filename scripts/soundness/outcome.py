"""What may come of a trial, and how it is told from what a command left."""

import re
import signal
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from .process import Ended

TERMINATED = 128 + 15


class Outcome(StrEnum):
    """The first three are sound."""

    IDENTICAL = "identical"  # to what comes undisturbed
    READ = "read"  # there is nothing to compare with
    REFUSED = "refused"  # with one line of error
    DIFFERENT = "silent difference"
    TRACEBACK = "traceback"
    CRASH = "crash"  # by a signal
    EXECUTION = "execution"  # of foreign code, or a secret told
    HANG = "hang"
    MEMORY = "memory"
    UNCLEAR = "unclear error"  # of no line or of several
    WORDLESS = "wordless death"
    DEAD_END = "dead end"  # the command, given again, fails
    LEFTOVER = "leftover"

    @property
    def sound(self) -> bool:
        return self in (Outcome.IDENTICAL, Outcome.READ, Outcome.REFUSED)


@dataclass(frozen=True)
class Trial:
    """One trial. what: the attack; note: what was seen, where that was not sound."""

    kind: str
    number: int
    what: str
    outcome: Outcome
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """An outcome and what it was seen by."""

    outcome: Outcome
    note: str = ""

    @property
    def sound(self) -> bool:
        return self.outcome.sound


def judge(ended: Ended) -> Verdict | None:
    """What is wrong with a command's end, or that it refused; None where it succeeded."""
    tail = ended.stderr[-1500:]
    if ended.late or ended.code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Verdict(Outcome.HANG, f"stopped after {ended.seconds:.0f} s")
    if ended.code < 0:
        return Verdict(Outcome.CRASH, f"signal {-ended.code}: {tail}")
    if ended.grown > MEMORY_LIMIT or any(word in ended.stderr for word in ("MemoryError", "memory is exhausted")):
        return Verdict(Outcome.MEMORY, f"{ended.grown} MiB: {tail}")
    if "Traceback (most recent call last)" in ended.stderr:
        return Verdict(Outcome.TRACEBACK, tail)
    if ended.code == 0:
        return None
    if ended.code == TERMINATED:
        return Verdict(Outcome.REFUSED, tail)
    lines = error_lines(ended.stderr)
    return Verdict(
        Outcome.REFUSED if ended.code == 1 and len(lines) == 1 else Outcome.UNCLEAR, "\n".join(lines) or tail
    )


MEMORY_LIMIT = 1500  # MiB that a command on data of a few KB may take beyond the warm process


def error_lines(stderr: str) -> list[str]:
    """The lines of the error that a command ended with, which begins with the command's name, and what Hydra adds."""
    added = re.findall(r"^Error executing job.*", stderr, re.MULTILINE)
    starts = [match.start() for match in re.finditer(r"^xmc [a-z-]+: ", stderr, re.MULTILINE)]
    return added + (stderr[starts[-1] :].splitlines() if starts else [])


def compared(now: dict[str, bytes], *references: dict[str, bytes]) -> Verdict:
    """Whether results are, to the byte, those of one of the references."""
    if now in references:
        return Verdict(Outcome.IDENTICAL)
    told = references[0]
    differing = sorted(name for name in now.keys() | told.keys() if now.get(name) != told.get(name))
    return Verdict(Outcome.DIFFERENT, f"differs in {', '.join(differing)}")


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The first that is not sound, or the last."""
    last = Verdict(Outcome.READ)
    for last in verdicts:
        if not last.sound:
            break
    return last
