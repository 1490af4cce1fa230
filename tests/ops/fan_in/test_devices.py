"""The op on a GPU against the reference on the CPU: on a pretend GPU, with `-m gpu` on a real one.

Through Triton's interpreter `test_triton.py` runs this file again.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from ops.cases import random_layer, random_positives
from pretend_cuda import INTERPRETED, KINDS, Gpus, gpus_of
from torch import Tensor

from xmc.ops.fan_in import FanIn, fan_in_linear, fan_in_loss, fan_in_sgd_step, fan_in_topk, resolve_backend
from xmc.ops.losses import LOSSES
from xmc.types import InPlaceUpdate, Positives, StepOutput
from xmc.values import LossName

fused_gpu = pytest.importorskip("xmc.ops.fan_in.impl.fused_gpu", reason="triton is not installed")
SHAPES = [(9, 37, 24, 5)] if INTERPRETED else [(5, 70, 24, 4), (33, 1500, 300, 32), (1100, 90, 64, 9)]


@pytest.fixture(params=KINDS)
def gpus(request: pytest.FixtureRequest) -> Iterator[Gpus]:
    with gpus_of(request.param) as found:
        yield found


@pytest.fixture(params=["auto", "torch", "triton", "densified"])
def backend(request: pytest.FixtureRequest, gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each that serves, `triton` by either of its forms alone."""
    chosen: str = request.param
    if chosen in ("triton", "densified"):
        try:
            resolve_backend("cuda", requested="triton")
        except ValueError as error:
            if gpus.real:
                raise
            pytest.skip(str(error))
        configurations = fused_gpu.configurations

        def of_one_form(*args: Any, **options: Any) -> list[Any]:
            found = configurations(*args, **options)
            return [one for one in found if (one.spread is not None) == (chosen == "densified")] or found

        monkeypatch.setattr(fused_gpu, "configurations", of_one_form)
    return "triton" if chosen == "densified" else chosen


def moved(features: Tensor, layer: FanIn) -> tuple[Tensor, FanIn]:
    tensors = {name: getattr(layer, name).to("cuda") for name in ("weight", "index", "bias")}
    return features.to("cuda"), replace(layer, **tensors)


def assert_near(ours: Tensor, exact: Tensor, tolerance: float) -> None:
    scale = max(1.0, float(exact.abs().max()))
    assert float((ours.cpu().double() - exact).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("loss", LOSSES[:1] if INTERPRETED else LOSSES)
@pytest.mark.parametrize("group_size", [1, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_gpu_gives_what_the_reference_gives(
    backend: str, shape: tuple[int, int, int, int], group_size: int, loss: LossName, dtype: torch.dtype
) -> None:
    features, exact, generator = random_layer(*shape, 0, group_size=group_size, dtype=torch.float64)
    exact = replace(exact, weight=exact.weight / shape[3] ** 0.5)
    positives = random_positives(shape[0], shape[1], 0.02, generator)
    features = features.to(dtype).double()
    there = moved(features.to(dtype), replace(exact, weight=exact.weight.float(), bias=exact.bias.float()))
    positives_there = Positives(positives.offsets.to("cuda"), positives.labels.to("cuda"))
    tolerance = 2e-5 if dtype == torch.float32 else 2e-2

    ours = [fan_in_loss(*there, positives_there, loss, backend=backend) for _ in range(2)]
    wanted = fan_in_loss(features, exact, positives, loss, backend="reference")
    for name in StepOutput.__slots__:
        assert_near(getattr(ours[0], name), getattr(wanted, name), tolerance)
        if backend != "torch":
            assert torch.equal(getattr(ours[0], name).cpu(), getattr(ours[1], name).cpu()), "the same bits"
    fan_in_sgd_step(*there, positives_there, loss, InPlaceUpdate(0.5), backend=backend)
    assert_near(there[1].weight, exact.weight - 0.5 * wanted.grad_weight, tolerance)
    assert_near(there[1].bias, exact.bias - 0.5 * wanted.grad_bias, tolerance)


@pytest.mark.parametrize("group_size", [1, 16])
def test_a_gpu_ranks_as_the_reference_does(backend: str, group_size: int) -> None:
    features, exact, generator = random_layer(9, 150, 24, 5, 0, group_size=group_size, dtype=torch.float64)
    there = moved(features.float(), replace(exact, weight=exact.weight.float(), bias=exact.bias.float()))
    assert_near(fan_in_linear(*there, backend=backend), fan_in_linear(features, exact, backend="reference"), 2e-5)
    ranked = fan_in_topk(*there, 7, backend=backend)
    wanted = fan_in_topk(features, exact, 7, backend="reference")
    assert torch.equal(ranked.labels.cpu(), wanted.labels)
    leaves = [there[0].requires_grad_(), there[1].weight.requires_grad_()]
    logits = fan_in_linear(*there, backend=backend)
    incoming = torch.randn(logits.shape, generator=generator)
    gradients = torch.autograd.grad(logits, leaves, incoming.to("cuda"))
    leaves = [features.requires_grad_(), exact.weight.requires_grad_()]
    expected = torch.autograd.grad(fan_in_linear(features, exact, backend="reference"), leaves, incoming.double())
    for ours, exactly in zip(gradients, expected, strict=True):
        assert_near(ours.detach(), exactly, 2e-5)
