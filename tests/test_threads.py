import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xmc.machine import prepare_machine
from xmc.threads import OWN, usable_processors

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


RUNTIME = """
import ctypes, importlib.util, pathlib
(runtime,) = (pathlib.Path(importlib.util.find_spec("torch").origin).parent / "lib").glob("libgomp*")
ctypes.CDLL(str(runtime))
"""
"""Loads what torch would load, and is a second faster than all of torch."""


def spins(code: str, **environment: str) -> list[str]:
    """How often OpenMP's threads look again before they sleep, as its own runtime tells when it is loaded."""
    others = {name: value for name, value in os.environ.items() if name not in OWN}
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=others | {"OMP_DISPLAY_ENV": "verbose"} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    return [line.partition("=")[2].strip(" '") for line in told.splitlines() if "GOMP_SPINCOUNT" in line]


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP comes with torch's Linux wheels")
@pytest.mark.parametrize(
    ("code", "environment", "expected"),
    [
        ("import xmc, torch", {}, "1000"),
        pytest.param("from xmc.train import step", {}, "1000", marks=pytest.mark.slow),
        ("from xmc import XMCModel", {}, "1000"),
        (f"import xmc\n{RUNTIME}", {"OMP_WAIT_POLICY": "passive"}, "0"),
        (f"import xmc\n{RUNTIME}", {"GOMP_SPINCOUNT": "70"}, "70"),
        (f"import xmc\n{RUNTIME}", {"KMP_BLOCKTIME": "1"}, "300000"),
        (f"{RUNTIME}import xmc", {}, "300000"),  # too late
    ],
)
def test_how_threads_wait(code: str, environment: dict[str, str], expected: str) -> None:
    told = spins(code, **environment)
    assert told and set(told) == {expected}


def test_nothing_is_promised_where_torch_came_first() -> None:
    code = "import os, torch, xmc; print(os.environ.get('GOMP_SPINCOUNT'))"
    others = {name: value for name, value in os.environ.items() if name not in OWN}
    assert subprocess.run([sys.executable, "-c", code], env=others, capture_output=True, text=True).stdout == "None\n"


def machine(root: Path, groups: str, files: dict[str, str]) -> str:
    """The root of a file system with these control groups."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, None),
        ("0::/", {"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ("0::/", {"sys/fs/cgroup/cpu.max": "300000 100000"}, 3),
        ("0::/", {"sys/fs/cgroup/cpu.max": "20000 100000"}, 1),
        ("0::/", {"sys/fs/cgroup/cpu.max": "210000 100000"}, 3),
        ("0::/a/b", {"sys/fs/cgroup/a/cpu.max": "400000 200000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b", {"sys/fs/cgroup/a/cpu.max": "max 100000", "sys/fs/cgroup/a/b/cpu.max": "5000 1000"}, 5),
        ("0::/a", {"sys/fs/cgroup/unified/a/cpu.max": "200000 100000"}, 2),
        ("0::/other/host", {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        ("0::/../other", {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        ("0::/", {"sys/fs/cgroup/cpu.max": ""}, None),
        (
            "4:memory:/\n1:cpu,cpuacct:/",
            {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "1000"},
            None,
        ),
        (
            "1:cpu,cpuacct:/docker/1",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            2,
        ),
        (
            "3:cpuset:/a\n2:cpu:/a\n0::/",
            {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "9", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "3"},
            3,
        ),
    ],
)
def test_quotas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], expected: int | None
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64), raising=False)
    assert usable_processors(machine(tmp_path, groups, files)) == (expected or 64)


def test_fewer_processors_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5, 7}, raising=False)
    assert usable_processors(machine(tmp_path, "0::/", {"sys/fs/cgroup/cpu.max": "300000 100000"})) == 2


def test_no_control_groups(tmp_path: Path) -> None:
    assert usable_processors(str(tmp_path)) == CPUS


@pytest.mark.parametrize(
    ("threads", "own", "expected"), [(None, None, 3), (None, "8", 8), (5, None, 5), (5, "8", 5), (1, None, 1)]
)
def test_threads_of_a_command(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, own: str | None, expected: int
) -> None:
    """A machine of 8 processors, of which the process may use 3."""
    before = torch.get_num_threads()
    monkeypatch.setattr("xmc.machine.usable_processors", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    try:
        torch.set_num_threads(8)
        prepare_machine("cpu", threads)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
