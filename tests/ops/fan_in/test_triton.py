"""Triton without a GPU: numerics through its interpreter, and builds for GPUs that are not here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")
ROOT = Path(__file__).parents[3]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_numerics_through_the_interpreter() -> None:
    """Every test of the op's contract, on CPU tensors."""
    told = run("-m", "pytest", "-q", "-k", "triton", "tests/ops/fan_in/test_api.py", TRITON_INTERPRET="1")
    assert "passed" in told


@pytest.mark.parametrize("capability", [80, 89, 90])
def test_kernels_build_and_do_not_spill(capability: int) -> None:
    table = run("scripts/compile_kernels.py", *f"--capability {capability} --group 1 32 --batch 128".split())
    rows = [line for line in table.splitlines() if line.startswith(f"| {capability} |")]
    assert len(rows) == 2 * 2 * 4
