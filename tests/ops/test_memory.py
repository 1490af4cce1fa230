"""No B x L and no L x D tensor ever exists: 300,000 labels, K = 32, D = 768."""

import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xmc.ops.fan_in import BACKENDS, fan_in_loss, fan_in_topk
from xmc.types import Positives

# B differs from K, so that an L x K gradient is not mistaken for the logits, nor the other way round.
L, K, D, B = 300_000, 32, 768, 48


class Largest(TorchDispatchMode):
    """Records the elements of the largest tensor that any operator gives back, those of L x K aside."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and tensor.numel() != L * K:
                self.elements = max(self.elements, tensor.numel())
        return out


def layer() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    index = (torch.arange(L)[:, None] * 7 + torch.arange(K) * 24).remainder_(D).to(torch.int16)
    return torch.randn(B, D), torch.randn(L, K) * 0.1, index, torch.full((L,), -5.0)


def positives() -> Positives:
    return Positives(torch.arange(B + 1), torch.arange(B) * 6000)


def steps(backend: str) -> dict[str, Callable[[], Any]]:
    inputs = layer()
    return {
        "bce": lambda: fan_in_loss(*inputs, positives(), "bce", backend=backend),
        "squared_hinge": lambda: fan_in_loss(*inputs, positives(), "squared_hinge", backend=backend),
        "topk": lambda: fan_in_topk(*inputs, 10, backend=backend),
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_operator_gives_back_a_large_tensor(backend: str) -> None:
    for name, step in steps(backend).items():
        with Largest() as largest:
            step()
        assert largest.elements < B * L / 4, f"{name}: {largest.elements} elements"


def test_the_probe_sees_what_it_looks_for() -> None:
    features, weight, _, _ = layer()
    with Largest() as largest:
        features[:, :K] @ weight.T
    assert largest.elements == B * L


@pytest.mark.parametrize("backend", BACKENDS)
def test_resident_memory_grows_by_the_gradient_alone(backend: str) -> None:
    """In a fresh process: beyond the L x K gradient (38 MB), less than half of a B x L tensor (58 MB)."""
    code = f"from ops.test_memory import print_growth; print_growth({backend!r})"
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    growth = int(done.stdout)
    assert growth < L * K * 4 + B * L * 4 // 2, f"{growth / 1e6:.0f} MB"


def print_growth(backend: str) -> None:
    """Print by how many bytes one step raises the peak, after a small one that loads what torch loads lazily."""
    inputs = layer()
    few = 10_000
    fan_in_loss(inputs[0], *(t[:few] for t in inputs[1:]), positives(), "bce", backend=backend)
    scale = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    fan_in_loss(*inputs, positives(), "bce", backend=backend)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale - before)
