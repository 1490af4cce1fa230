"""Threads that share a machine: how those of OpenMP wait for one another, and how many there may be.

Light, as it is imported before xmc listens to signals.
"""

import math
import os
import sys
from collections.abc import Iterator

OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # by which users tell OpenMP how to wait
_SPINS = 1000  # some microseconds; GNU's own choice, 300,000, takes milliseconds


def wait_briefly() -> None:
    """Let threads of GNU's OpenMP, which torch's wheels for Linux bring, spin only briefly before they sleep.

    A thread that spins while it waits keeps a core from those it waits for: beside other work, long spins multiply
    time and processor time, and to sleep at once (`OMP_WAIT_POLICY=passive`) slows an idle machine
    (docs/results/threads.md). What the environment says already stands. OpenMP reads the environment once, when torch
    loads it, so nothing is done where torch was imported before: import xmc first, or set GOMP_SPINCOUNT=1000 in the
    environment.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in OWN):
        os.environ["GOMP_SPINCOUNT"] = str(_SPINS)


def usable_processors(root: str = "/") -> int:
    """Processors for this process: those it may run on, or fewer where the quota of a control group is less.

    Part of a processor counts as one. root: of the file system that tells the quotas (cgroup v1 and v2).
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([affinity, *(math.ceil(quota) for quota in _quotas(root))])


def _quotas(root: str) -> Iterator[float]:
    """Quotas in processors, of this process's control groups and all above them.

    In a container without a namespace of its own, the path of a group is the host's, and what is mounted is the group.
    """
    for group in _read(root, "proc/self/cgroup").splitlines():
        _, controllers, path = group.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = path.strip("/").split("/")
        for mount in (controllers, "cpu") if controllers else ("", "unified"):
            for depth in range(len(names) + 1):
                folder = os.path.join(root, "sys/fs/cgroup", mount, *names[:depth])
                if (quota := _quota(folder, bool(controllers))) is not None:
                    yield quota


def _quota(folder: str, first_version: bool) -> float | None:
    """What a control group may have of processors; None: no limit, or no such group."""
    if first_version:
        told = [_read(folder, f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    else:
        told = _read(folder, "cpu.max").split()
    try:
        quota, period = map(int, told)
    except ValueError:  # "max" is no number
        return None
    return quota / period if quota > 0 else None


def _read(folder: str, name: str) -> str:
    """The text of a file, nothing where there is none."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
