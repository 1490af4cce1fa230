"""The device and the threads of a process."""

import os

import torch

from xmc.errors import XMCError
from xmc.threads import usable_processors


def prepare_machine(device: str, threads: int | None, local_rank: int = 0) -> torch.device:
    """Set the number of CPU threads and choose the device; `auto` prefers a GPU.

    threads: None: torch's own choice, but no more than the processors that this process may use. What the environment
    (OMP_NUM_THREADS) says is torch's choice. local_rank: number of this process on its machine, and of its GPU, where
    none is named.

    Raises:
        XMCError: the device named is not to be had.
    """
    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = min(torch.get_num_threads(), usable_processors())
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and local_rank:
        device = f"cuda:{local_rank}"
    try:
        chosen = torch.device(device)
        torch.ones(1, device=chosen).item()  # which `meta` cannot
    except (RuntimeError, AssertionError) as error:
        told = str(error).partition("\n")[0]
        raise XMCError(f"the device {device!r} cannot be used ({told:.100}); take auto, cpu or cuda") from None
    return chosen
