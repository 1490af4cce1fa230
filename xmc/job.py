"""Which process of a job this is, as torchrun tells it in the environment. Light: no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from xmc.errors import XMCError

_START = "start the processes with torchrun, or unset RANK and WORLD_SIZE to run a single one"


@dataclass(frozen=True, slots=True)
class Place:
    """A process of a job. rank: its number, 0 to size - 1. local_rank: among those of its machine. restarts: how often
    torchrun has started the job's processes anew."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    restarts: int = 0

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0


def place(environment: Mapping[str, str] | None = None) -> Place:
    """The place of this process; without torchrun, that of a process alone.

    Raises:
        XMCError: the environment tells of several processes, but not which of them this is.
    """
    environment = os.environ if environment is None else environment
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if rank is None and size in (None, 1):
        return Place()
    if rank is None or size is None or not rank < size:
        given = ", ".join(f"{name}={environment.get(name, '(unset)')}" for name in ("RANK", "WORLD_SIZE"))
        raise XMCError(f"{given}: expected the number of this process and how many there are; {_START}")
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if size > 1 and not environment.get(name)]:
        raise XMCError(f"WORLD_SIZE={size} processes find one another by {missing[0]}, which is unset; {_START}")
    local_rank = _number(environment, "LOCAL_RANK")
    return Place(
        rank, size, rank if local_rank is None else local_rank, _number(environment, "TORCHELASTIC_RESTART_COUNT") or 0
    )


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise XMCError(f"{name}={text!r:.40}: expected a number; {_START}")
    return int(text)
