"""The processes that torchrun has started become one job, and end as one."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from xmc.distributed.processes import ALONE, Group, Processes
from xmc.errors import XMCError
from xmc.job import Place

if TYPE_CHECKING:
    from torch.distributed import Store

_ARRIVAL = timedelta(minutes=5)  # in which all must have come
_PATIENCE = timedelta(hours=12)  # with one that is there and works; one that ends is noticed at once
_LEAVE = 5  # seconds that others have to notice
_TOLD = "told"  # counts the processes that had something to tell at their end


@contextmanager
def joined(place: Place) -> Iterator[Processes]:
    """The processes of this one's job, joined while the context lasts.

    Of errors that end the job, such as a loss that all processes see diverge, the first process to have one tells it;
    the others end without a word.

    Raises:
        XMCError: they do not come together; it says why.
    """
    if place.size == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    store = _met(place)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=_PATIENCE)
    try:
        yield Group(place)
    except (Exception, KeyboardInterrupt) as end:
        first_to_tell = _count_told(store) <= 1
        dist.destroy_process_group()  # by which the others notice
        if first_to_tell or not isinstance(end, XMCError | KeyboardInterrupt):
            _keep(store, place)
            raise
        status = 128 + getattr(end, "signal_number", signal.SIGINT) if isinstance(end, KeyboardInterrupt) else 1
        raise SystemExit(status) from None
    dist.destroy_process_group()


def _met(place: Place) -> "Store":
    import torch.distributed as dist

    try:
        store, _, _ = next(dist.rendezvous("env://", place.rank, place.size, timeout=_ARRIVAL))
        if _is_of_torchrun():  # and outlives the processes
            store = dist.PrefixStore(f"start-{place.restarts}", store)
        if store.add(f"here/{place.rank}", 1) > 1:
            raise XMCError(f"two processes say that they are number {place.rank}; start them all with one torchrun")
        store.wait([f"here/{rank}" for rank in range(place.size)], _ARRIVAL)
    except (RuntimeError, ValueError) as error:
        told = str(error).partition("\n")[0]
        raise XMCError(
            f"{place.size} processes were to make one job, and within {_ARRIVAL} not all have come together "
            f"({told:.160}); start as many as WORLD_SIZE says, with one torchrun that reaches all machines"
        ) from None
    return store


def _count_told(store: "Store", more: int = 1) -> int:
    """How many processes have something to tell, this one included; 0 where they cannot be asked."""
    try:
        return int(store.add(_TOLD, more))
    except RuntimeError:
        return 0


def _keep(store: "Store", place: Place) -> None:
    """Wait until the others know that it is told, where the store ends with this process, and not with torchrun."""
    if place.rank or _is_of_torchrun():
        return
    deadline = time.monotonic() + _LEAVE
    while _count_told(store, 0) < place.size and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_of_torchrun() -> bool:
    """Whether the store is that of torchrun; else it is the first process's."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
