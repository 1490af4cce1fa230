"""What the module of a command tells the command line.

Such a module is light: what takes long to import is imported where the command runs, so that help and a mistaken key
are answered at once.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from xmc.config import Section

S = TypeVar("S", bound=Section)

Given = Collection[str]
"""The keys and groups that the user has set."""


@dataclass(frozen=True)
class Command(Generic[S]):
    """schema: of its configuration, whose defaults are in `conf/`. run: what it does under a checked one.

    begins_run: whether it trains to the folder `run`, so that each of a sweep has a folder of its own, and one that was
    interrupted goes on with `resume=true`. several: whether the processes of a job do it together. inherited: of what
    was typed, the overrides that something else decides and that stand before it. often: keys that help shows first.
    parts: of a run's, those that help lists; None: all.
    """

    schema: type[S]
    run: Callable[[S, Given], None]
    begins_run: bool = False
    several: bool = False
    inherited: Callable[[Sequence[str]], Sequence[str]] = lambda _: ()
    often: Sequence[str] = ()
    parts: Collection[str] | None = None
