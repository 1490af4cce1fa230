"""No B x L and no L x D tensor ever exists: 300,000 labels, K = 32, D = 768."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ops.cases import SERVING, Largest

from xmc.ops.fan_in import FanIn, fan_in_linear, fan_in_loss, fan_in_topk
from xmc.types import Positives

# B differs from K, so that an L x K gradient is not mistaken for the logits, nor the other way round.
L, K, D, B = 300_000, 32, 768, 48


def layer() -> tuple[torch.Tensor, FanIn]:
    """Features and a layer. Large temporaries would raise the peak that growth is measured from."""
    index = torch.arange(0, D, D // K, dtype=torch.int16).repeat(L, 1)
    return torch.randn(B, D), FanIn(torch.randn(L, K).mul_(0.1), index, torch.full((L,), -5.0))


def positives() -> Positives:
    return Positives(torch.arange(B + 1), torch.arange(B) * 6000)


def steps(backend: str) -> dict[str, Callable[[], Any]]:
    inputs = layer()
    return {
        "bce": lambda: fan_in_loss(*inputs, positives(), "bce", backend=backend),
        "squared_hinge": lambda: fan_in_loss(*inputs, positives(), "squared_hinge", backend=backend),
        "topk": lambda: fan_in_topk(*inputs, 10, backend=backend),
    }


@pytest.mark.parametrize("backend", SERVING)
def test_no_operator_gives_back_a_large_tensor(backend: str) -> None:
    for name, step in steps(backend).items():
        with Largest(aside=L * K) as largest:
            step()
        assert largest.elements < B * L / 4, f"{name}: {largest.elements} elements"


def test_the_probe_sees_what_it_looks_for() -> None:
    features, sparse = layer()
    with Largest(aside=L * K) as largest:
        features[:, :K] @ sparse.weight.T
    assert largest.elements == B * L


GRADIENT, LOGITS = 4 * L * K, 4 * B * L
MEASURED = [("step", backend) for backend in SERVING] + [("linear", "torch")]
STATUS = Path("/proc/self/status")
needs_proc = pytest.mark.skipif(not STATUS.exists(), reason="reads the peak memory from /proc")


@needs_proc
def test_resident_memory_grows_by_the_gradient_alone() -> None:
    """The L x K gradient is 38 MB, B x L logits would be 58 MB, an L x D tensor 922 MB.

    The control is `fan_in_linear`, which does hold B x L.
    """
    code = f"import sys; sys.path[:0] = {sys.path!r}; from ops import test_memory as t; t.measure()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown = dict(zip(MEASURED, map(int, done.stdout.split()), strict=True))
    assert grown.pop(("linear", "torch")) > 0.9 * LOGITS
    assert all(0.9 * GRADIENT < step < GRADIENT + LOGITS // 2 for step in grown.values()), grown


def measure() -> None:
    """Print how much each call grows, each in a process forked anew from this one, whose peak is what it holds."""
    for what, backend in MEASURED:
        if (child := os.fork()) == 0:
            print(growth(what, backend), flush=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def growth(what: str, backend: str) -> int:
    """Bytes by which one call raises the peak, after a small one that loads what torch loads lazily."""
    features, all_labels = layer()
    calls: dict[str, Callable[[FanIn], Any]] = {
        "step": lambda layer: fan_in_loss(features, layer, positives(), "bce", backend=backend),
        "linear": lambda layer: fan_in_linear(features, layer, backend=backend),
    }
    calls[what](all_labels.part(slice(0, 10_000)))
    before = peak()
    calls[what](all_labels)
    return peak() - before


def peak() -> int:
    """Largest resident size of this process so far, in bytes. `ru_maxrss` would start at the parent's."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
