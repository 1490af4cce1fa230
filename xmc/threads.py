"""Threads that share a machine: how those of OpenMP wait for one another, and how many there may be."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # by which users tell OpenMP how to wait
_SPINS = 1000  # some microseconds; GNU's own choice, 300,000, takes milliseconds


def wait_briefly() -> None:
    """Let threads of GNU's OpenMP, which torch's wheels for Linux bring, spin only briefly before they sleep.

    A thread that waits for one without a core keeps another from it: beside other work, long spins multiply time and
    processor time; to sleep at once (`OMP_WAIT_POLICY=passive`) slows an idle machine (docs/results/threads.md). What
    the environment says already stands. OpenMP reads the environment once, when torch loads it, so nothing is done
    where torch was imported before: set GOMP_SPINCOUNT=1000 in the environment then, or import xmc first.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in OWN):
        os.environ["GOMP_SPINCOUNT"] = str(_SPINS)


def usable_processors(root: Path = Path("/")) -> int:
    """Processors for this process: those it may run on, or fewer where the quota of a control group is less.

    Part of a processor counts as one. root: of the file system that tells the quotas (cgroup v1 and v2).
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([affinity, *(max(1, math.ceil(quota)) for quota in _quotas(root))])


def _quotas(root: Path) -> Iterator[float]:
    """Quotas in processors, of this process's control groups and all above them.

    In a container without a namespace of its own, the path of a group is the host's, and what is mounted is the group.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [controllers, "cpu"] if controllers else [".", "unified"]
        for mount in (root / "sys/fs/cgroup" / name for name in mounts):
            place = mount / os.path.normpath(path).lstrip("/")
            for folder in (place, *place.parents):
                if folder.is_relative_to(mount) and (quota := _quota(folder, bool(controllers))) is not None:
                    yield quota


def _quota(folder: Path, first_version: bool) -> float | None:
    """What a control group may have of processors; None: no limit, or no such group."""
    try:
        if first_version:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        else:
            quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # "max" is no number
        return None
