import importlib.util
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.cases import (
    SERVING,
    dtype_of,
    make_positives,
    naive_logits,
    naive_loss,
    random_layer,
    random_positives,
    tolerance_of,
)
from pretend_cuda import multiply_numbers

from xmc.ops.counter_rng import rounded
from xmc.ops.fan_in import FanIn, fan_in_linear, fan_in_loss, fan_in_sgd_step, fan_in_topk, resolve_backend
from xmc.ops.fan_in.impl import blockwise, reference
from xmc.ops.losses import LOSSES
from xmc.types import InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

INTERPRETED = bool(os.environ.get("TRITON_INTERPRET"))


def examples(number: int) -> int:
    """Fewer where Triton's interpreter, a thousand times slower, is on."""
    return max(1, number // 16) if INTERPRETED else number


LABELS = 70 if INTERPRETED else 150
"""More than the blocks below hold, and no multiple of them."""
backends = pytest.mark.parametrize("backend", SERVING)
losses = pytest.mark.parametrize("loss", LOSSES)
LOOSE = {"rtol": 1e-5, "atol": 1e-4}  # sums of a hundred terms in float32


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 labels, so that small problems have several and a last one that is not full."""
    monkeypatch.setattr(blockwise, "_GATHERED_BYTES", 1)
    monkeypatch.setattr(blockwise, "_DENSIFIED_BYTES", {"cpu": 1})
    monkeypatch.setattr(reference, "_BLOCK", 50)


@pytest.fixture(autouse=True, params=["atomic", "densified"] if INTERPRETED else ["compiled"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of the back end `triton` to sum the gradient of the features, the second in small blocks."""
    chosen: str = request.param
    if chosen != "densified":
        return chosen
    from xmc.ops.fan_in.impl import fused_gpu

    configurations = fused_gpu.configurations

    def densified(*args: Any, **options: Any) -> list[fused_gpu.Configuration]:
        found = configurations(*args, **options)
        return [one for one in found if one.spread is not None] or found

    monkeypatch.setattr(fused_gpu, "configurations", densified)
    monkeypatch.setattr(fused_gpu, "_BLOCK", 40)
    monkeypatch.setattr(fused_gpu, "_PROGRAMS", 2)
    return chosen


@dataclass(frozen=True)
class Problem:
    """Shapes that are multiples of nothing, and a seed."""

    documents: int
    n_labels: int
    in_features: int
    fan_in: int
    group_size: int
    duplicates: bool
    density: float
    seed: int

    def layer(self, dtype: torch.dtype) -> tuple[torch.Tensor, FanIn]:
        shape = (self.documents, self.n_labels, self.in_features, self.fan_in)
        return random_layer(*shape, self.seed, duplicates=self.duplicates, group_size=self.group_size, dtype=dtype)[:2]

    def positives(self) -> Positives:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return random_positives(self.documents, self.n_labels, self.density, generator)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    in_features = draw(st.integers(1, 40))
    n_labels = draw(st.sampled_from([1, 3, 63, 64, 65, LABELS]))
    sizes = [n for n in (1, 2, 7, 16, 100) if n <= n_labels]
    return Problem(
        documents=draw(st.sampled_from([1, 2, 5, 8, 9, 17, 33] if INTERPRETED else [1, 2, 5, 8, 9, 17, 33, 48, 100])),
        n_labels=n_labels,
        in_features=in_features,
        fan_in=draw(st.one_of(st.integers(1, in_features), st.just(in_features))),
        group_size=draw(st.sampled_from(sizes)),
        duplicates=draw(st.booleans()),
        density=draw(st.sampled_from([0.0, 0.05, 1.0])),
        seed=draw(st.integers(0, 2**16)),
    )


def autograd(features: torch.Tensor, layer: FanIn, positives: Positives, loss: LossName) -> StepOutput:
    """In float64."""
    leaves = [t.double().detach().clone().requires_grad_() for t in (features, layer.weight, layer.bias)]
    total = naive_loss(naive_logits(leaves[0], replace(layer, weight=leaves[1], bias=leaves[2])), positives, loss)
    return StepOutput(total.detach(), *torch.autograd.grad(total, leaves))


def assert_outputs(actual: StepOutput, expected: StepOutput, tolerance: float) -> None:
    for name in StepOutput.__slots__:
        wanted = getattr(expected, name)
        scale = max(1.0, float(wanted.abs().max()))
        difference = float((getattr(actual, name).double() - wanted).abs().max())
        assert difference <= tolerance * scale, f"{name} is off by {difference:g}"


@backends
@losses
@given(problem=problems())
@settings(max_examples=examples(60))
def test_loss_equals_autograd_of_the_dense_formula(backend: str, loss: LossName, problem: Problem) -> None:
    given, positives = problem.layer(dtype_of(backend)), problem.positives()
    exact = autograd(*given, positives, loss)
    assert_outputs(fan_in_loss(*given, positives, loss, backend=backend), exact, tolerance_of(backend))
    single = fan_in_loss(*problem.layer(torch.float32), positives, loss, backend=backend)
    assert all(getattr(single, name).dtype == torch.float32 for name in StepOutput.__slots__)
    assert_outputs(single, exact, 1e-5)


@pytest.mark.parametrize("backend", [b for b in SERVING if b != "reference"])
@losses
@given(problem=problems())
@settings(max_examples=examples(30))
def test_error_in_single_precision_is_that_of_the_reference(backend: str, loss: LossName, problem: Problem) -> None:
    given, positives = problem.layer(torch.float32), problem.positives()
    exact = autograd(*given, positives, loss)
    ours = fan_in_loss(*given, positives, loss, backend=backend)
    specified = fan_in_loss(*given, positives, loss, backend="reference")
    for name in StepOutput.__slots__:
        wanted = getattr(exact, name)
        rounding = 16 * torch.finfo(torch.float32).eps * max(1.0, float(wanted.abs().max()))
        error, allowed = ((getattr(o, name) - wanted).abs().max() for o in (ours, specified))
        assert error <= allowed + rounding, name


@backends
@losses
@given(problem=problems(), weight_decay=st.sampled_from([0.0, 0.1]))
@settings(max_examples=examples(30))
def test_sgd_step_is_the_gradient_applied(backend: str, loss: LossName, problem: Problem, weight_decay: float) -> None:
    features, layer = problem.layer(dtype_of(backend))
    positives, tolerance = problem.positives(), tolerance_of(backend)
    exact = autograd(features, layer, positives, loss)
    before = layer.weight.to(torch.float64, copy=True), layer.bias.to(torch.float64, copy=True)
    value, grad_features = fan_in_sgd_step(
        features, layer, positives, loss, InPlaceUpdate(0.5, weight_decay), backend=backend
    )
    stepped = (1 - 0.5 * weight_decay) * before[0] - 0.5 * exact.grad_weight, before[1] - 0.5 * exact.grad_bias
    assert_outputs(
        StepOutput(value, grad_features, layer.weight, layer.bias),
        StepOutput(exact.loss, exact.grad_features, *stepped),
        tolerance,
    )


@pytest.mark.parametrize("backend", [b for b in SERVING if b != "numba"])
@pytest.mark.parametrize("group_size", [1, 16])
def test_bfloat16_weights_are_rounded_by_seed_step_label_and_slot(backend: str, group_size: int) -> None:
    """The update is that of float32, up or down to a neighbour; the same for every back end but where sums differ."""
    features, single, generator = random_layer(5, 90, 16, 4, 0, group_size=group_size, dtype=torch.float32)
    positives = random_positives(5, 90, 0.1, generator)
    half = single.weight.bfloat16()
    layer = replace(single, weight=half)
    exact = autograd(features, layer, positives, "bce")
    stepped = half.double() - 0.5 * exact.grad_weight
    fan_in_sgd_step(features, layer, positives, "bce", InPlaceUpdate(0.5, seed=3, step=7), backend=backend)
    assert half.dtype == torch.bfloat16 and layer.bias.dtype == torch.float32
    assert ((half.double() - stepped).abs() <= 2**-7 * stepped.abs() + 1e-6).all()
    assert (half == rounded(stepped.float(), torch.bfloat16, (3, 7), 0)).double().mean() > 0.98


@backends
@losses
@pytest.mark.parametrize("where", ["features", "weight", "bias"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_sgd_step_touches_nothing_where_numbers_are_broken(
    backend: str, loss: LossName, where: str, bad: float
) -> None:
    features, layer, generator = random_layer(3, LABELS, 16, 4, 0, dtype=dtype_of(backend))
    {"features": features, "weight": layer.weight, "bias": layer.bias}[where].view(-1)[7 % 3] = bad
    before = layer.weight.clone(), layer.bias.clone()
    positives = random_positives(3, LABELS, 0.1, generator)
    value, grad_features = fan_in_sgd_step(features, layer, positives, loss, InPlaceUpdate(0.1, 0.1), backend=backend)
    assert value.isnan() and grad_features.isnan().all()
    assert torch.equal(layer.weight.nan_to_num(), before[0].nan_to_num())
    assert torch.equal(layer.bias.nan_to_num(), before[1].nan_to_num())


@backends
@losses
@pytest.mark.parametrize("where", ["features", "weight", "bias"])
def test_nan_in_is_a_nan_loss(backend: str, loss: LossName, where: str) -> None:
    features, layer, generator = random_layer(3, LABELS, 16, 16, 0, dtype=dtype_of(backend))
    {"features": features, "weight": layer.weight, "bias": layer.bias}[where].view(-1)[5] = torch.nan
    positives = random_positives(3, LABELS, 0.1, generator)
    assert fan_in_loss(features, layer, positives, loss, backend=backend).loss.isnan()


@backends
@given(problem=problems())
@settings(max_examples=examples(40))
def test_linear_has_the_gradients_of_the_dense_formula(backend: str, problem: Problem) -> None:
    features, layer = problem.layer(dtype_of(backend))
    leaves = [t.requires_grad_() for t in (features, layer.weight, layer.bias)]
    logits = fan_in_linear(features, layer, backend=backend)
    expected = naive_logits(features, layer)
    torch.testing.assert_close(logits, expected, **LOOSE)
    generator = torch.Generator().manual_seed(problem.seed + 2)
    incoming = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
    ours, wanted = (torch.autograd.grad(output, leaves, incoming) for output in (logits, expected))
    torch.testing.assert_close(ours, wanted, **LOOSE)


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("fan_in", [4, 12])
def test_linear_passes_gradcheck(backend: str, fan_in: int) -> None:
    features, layer, _ = random_layer(3, 70, 16, fan_in, 0)
    leaves = (features.requires_grad_(), layer.weight.requires_grad_(), layer.bias.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, w, b: fan_in_linear(f, FanIn(w, layer.index, b), backend=backend), leaves)


@backends
@losses
@pytest.mark.parametrize("fan_in", [4, 12])
def test_active_slots(backend: str, loss: LossName, fan_in: int) -> None:
    """Output and feature gradient as if only the first slots existed, weight gradient of all slots."""
    features, whole, generator = random_layer(5, LABELS, 16, fan_in, 0, dtype=dtype_of(backend))
    positives = random_positives(5, LABELS, 0.1, generator)
    layer, masked = replace(whole, active=fan_in // 2), replace(whole, weight=whole.weight.clone())
    masked.weight[:, layer.n_active :] = 0
    out = fan_in_loss(features, layer, positives, loss, backend=backend)
    assert_outputs(out, autograd(features, masked, positives, loss), tolerance_of(backend))
    ranked = fan_in_topk(features, layer, 7, backend=backend)
    first = naive_logits(features, masked)
    assert torch.equal(ranked.labels, first.float().sort(dim=1, descending=True, stable=True).indices[:, :7])


@backends
@losses
def test_shards_sum_up_to_the_whole(backend: str, loss: LossName) -> None:
    features, layer, generator = random_layer(4, LABELS, 16, 3, 0, dtype=dtype_of(backend))
    positives = random_positives(4, LABELS, 0.1, generator)
    whole = fan_in_loss(features, layer, positives, loss, backend=backend)
    best = fan_in_topk(features, layer, 5, backend=backend)
    bounds = [0, 40, 41, LABELS]
    parts, tops = [], []
    for first, last in itertools.pairwise(bounds):
        shard = layer.part(slice(first, last))
        parts.append(fan_in_loss(features, shard, positives, loss, backend=backend))
        tops.append(fan_in_topk(features, shard, 5, backend=backend))
    assert_outputs(
        StepOutput(
            torch.stack([p.loss for p in parts]).sum(),
            torch.stack([p.grad_features for p in parts]).sum(0),
            torch.cat([p.grad_weight for p in parts]),
            torch.cat([p.grad_bias for p in parts]),
        ),
        whole,
        tolerance_of(backend),
    )
    labels, scores = torch.cat([t.labels for t in tops], 1), torch.cat([t.scores for t in tops], 1)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :5]
    assert torch.equal(labels.gather(1, order), best.labels)


@backends
@losses
def test_extreme_logits_stay_finite(backend: str, loss: LossName) -> None:
    features = torch.tensor([[1.0], [-1.0]])
    weight = torch.full((130, 1), 1e4)
    index = torch.zeros(130, 1, dtype=torch.int16)
    positives = make_positives([[0, 129], [0, 64]])
    layer = FanIn(weight, index, torch.zeros(130))
    out = fan_in_loss(features, layer, positives, loss, backend=backend)
    assert_outputs(out, autograd(features, layer, positives, loss), 1e-6)
    assert torch.isfinite(out.grad_features).all()


@backends
@given(problem=problems(), k=st.sampled_from([1, 4, 200]))
@settings(max_examples=examples(30))
def test_topk_equals_a_stable_sort(backend: str, problem: Problem, k: int) -> None:
    features, layer = problem.layer(dtype_of(backend))
    # Small integers: exact sums, many ties.
    features, layer = features.round(), FanIn(layer.weight.round(), layer.index, layer.bias.round(), label_offset=1000)
    ranked = fan_in_topk(features, layer, k, backend=backend)
    scores, labels = naive_logits(features, layer).float().sort(dim=1, descending=True, stable=True)
    n = min(k, problem.n_labels)
    assert ranked.labels.shape == ranked.scores.shape == (problem.documents, k)
    assert torch.equal(ranked.labels[:, :n], labels[:, :n] + 1000) and torch.equal(ranked.scores[:, :n], scores[:, :n])
    assert (ranked.labels[:, n:] == -1).all() and (ranked.scores[:, n:] == -torch.inf).all()


@pytest.mark.parametrize("fan_in", [8, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", [b for b in SERVING if b not in ("numba", "triton")])
def test_half_precision_features(backend: str, dtype: torch.dtype, fan_in: int) -> None:
    features, double, generator = random_layer(4, 100, 40, fan_in, 0)
    positives = random_positives(4, 100, 0.1, generator)
    features, layer = features.to(dtype), FanIn(double.weight.float(), double.index, double.bias.float())
    out = fan_in_loss(features, layer, positives, "bce", backend=backend)
    assert (out.grad_features.dtype, out.grad_weight.dtype) == (dtype, torch.float32)
    assert_outputs(out, autograd(features, double, positives, "bce"), 0.03)
    assert fan_in_topk(features, layer, 3, backend=backend).scores.dtype == torch.float32


@backends
def test_wide_features_take_a_32_bit_index(backend: str) -> None:
    features, layer, generator = random_layer(2, 5, 40_000, 3, 0, dtype=dtype_of(backend))
    assert layer.index.dtype == torch.int32 and int(layer.index.max()) > 32_767
    positives = random_positives(2, 5, 0.5, generator)
    out = fan_in_loss(features, layer, positives, "bce", backend=backend)
    assert_outputs(out, autograd(features, layer, positives, "bce"), tolerance_of(backend))


@pytest.mark.parametrize("backend", [b for b in SERVING if b != "reference"])
@losses
@pytest.mark.parametrize(("documents", "fan_in"), [(32, 8), (9, 5), *([] if INTERPRETED else [(33, 48)])])
@pytest.mark.parametrize("group_size", [1, 16])
def test_same_bits_run_after_run_and_for_any_number_of_threads(
    backend: str, loss: LossName, documents: int, fan_in: int, group_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What numba and the gathered form promise (its budget is set back to a size at which threads share a block)."""
    monkeypatch.setattr(blockwise, "_GATHERED_BYTES", 4 << 20)
    n_labels, counts = (37, (1, 2)) if backend == "triton" else (5001, (1, 2, 3, 1))  # its interpreter is slow
    shape = (documents, n_labels, 192, fan_in)
    features, layer, generator = random_layer(*shape, 0, group_size=group_size, dtype=torch.float32)
    positives = random_positives(documents, n_labels, 0.001, generator)
    threads = torch.get_num_threads()
    runs: list[list[torch.Tensor]] = []
    try:
        for n in counts:
            torch.set_num_threads(n)
            out = fan_in_loss(features, layer, positives, loss, backend=backend)
            top = fan_in_topk(features, layer, 5, backend=backend)
            moved = replace(layer, weight=layer.weight.clone(), bias=layer.bias.clone())
            step = fan_in_sgd_step(features, moved, positives, loss, InPlaceUpdate(0.1), backend=backend)
            logits = fan_in_linear(features, layer, backend=backend)
            outputs = [getattr(out, name) for name in StepOutput.__slots__]
            runs.append([*outputs, top.labels, top.scores, moved.weight, moved.bias, *step, logits])
    finally:
        torch.set_num_threads(threads)
    for results in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results, runs[0], strict=True))


def test_parameters_of_a_model_leave_no_graph() -> None:
    features, layer, generator = random_layer(2, 5, 16, 3, 0)
    positives = random_positives(2, 5, 0.5, generator)
    learning = replace(layer, weight=torch.nn.Parameter(layer.weight), bias=torch.nn.Parameter(layer.bias))
    out = fan_in_loss(features.requires_grad_(), learning, positives, "bce")
    assert not any(getattr(out, name).requires_grad for name in StepOutput.__slots__)


def test_auto_takes_the_first_that_serves_and_says_why_others_do_not() -> None:
    assert resolve_backend("cpu") == ("numba", {})
    name, passed_over = resolve_backend("cpu", torch.float64)
    assert name == "torch" and "float32" in passed_over["numba"]
    name, passed_over = resolve_backend("cpu", weight_dtype=torch.bfloat16)
    assert name == "torch" and "float32" in passed_over["numba"]
    name, passed_over = resolve_backend("meta")
    assert name == "reference" and "meta" in passed_over["torch"] and "meta" in passed_over["numba"]


def test_a_back_end_asked_for_by_name_does_not_fall_back() -> None:
    with pytest.raises(ValueError, match=r"backend: 'torch' cannot serve .* on meta .*tuned for cpu and cuda"):
        resolve_backend("meta", requested="torch")
    with pytest.raises(ValueError, match="expected auto or one of numba, triton, torch, reference, got 'cudnn'"):
        resolve_backend("cpu", requested="cudnn")


@pytest.mark.parametrize("group_size", [1, 3, 8])
@pytest.mark.parametrize("fan_in", [1, 13, 32])
def test_numba_gives_a_document_the_same_bits_in_any_batch(group_size: int, fan_in: int) -> None:
    features, layer, _ = random_layer(131, 203, 40, fan_in, seed=0, group_size=group_size, dtype=torch.float32)
    alone = [fan_in_linear(row[None], layer, backend="numba") for row in features]
    best = [fan_in_topk(row[None], layer, 9, backend="numba") for row in features]
    for size in (2, 7, 16, 33, 64, 131):
        parts = features.split(size)
        assert torch.equal(torch.cat([fan_in_linear(p, layer, backend="numba") for p in parts]), torch.cat(alone))
        top = TopK.cat([fan_in_topk(part, layer, 9, backend="numba") for part in parts])
        assert torch.equal(top.scores, TopK.cat(best).scores) and torch.equal(top.labels, TopK.cat(best).labels)


@pytest.mark.skipif(not INTERPRETED, reason="needs a GPU, or Triton's interpreter")
@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("group_size", [1, 5])
def test_triton_takes_a_batch_of_several_tiles(
    group_size: int, weight_dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xmc.ops.fan_in.impl import fused_gpu

    monkeypatch.setattr(fused_gpu, "_MOST_DOCUMENTS", 16)
    monkeypatch.setattr(fused_gpu, "_GROUP_TILE", 16 * 16)
    monkeypatch.setattr(fused_gpu, "_BLOCK", 10)
    shape = {"group_size": group_size, "dtype": torch.float32}
    features, layer, generator = random_layer(37, 23, 24, 5, 0, **shape)  # type: ignore[arg-type]
    layer = replace(layer, weight=layer.weight.to(weight_dtype))
    positives = random_positives(37, 23, 0.1, generator)
    results = []
    for backend in ("triton", "reference"):
        own = replace(layer, weight=layer.weight.clone(), bias=layer.bias.clone())
        loss, gradient = fan_in_sgd_step(
            features, own, positives, "bce", InPlaceUpdate(0.1, 0.01, 3, 4), backend=backend
        )
        results.append((loss, gradient, own.weight.float(), own.bias))
    rounding = {"rtol": 1e-2, "atol": 1e-2} if weight_dtype == torch.bfloat16 else LOOSE
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, **rounding)


@pytest.mark.skipif(not INTERPRETED, reason="needs a GPU, or Triton's interpreter")
def test_triton_densified_moves_what_is_counted_on_paper(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOPs exactly, and within 10 % the bytes, in the sectors of 32 that each load, store and atomic touches."""
    from triton.runtime.interpreter import interpreter_builder as builder

    from xmc.ops.fan_in.impl import fused_gpu

    if form != "densified":
        pytest.skip("the other form")
    multiply_numbers(monkeypatch)
    monkeypatch.setattr(fused_gpu, "_PROGRAMS", 1)  # so that what is added up at the end is little
    counted: Counter[str] = Counter()

    def watched(name: str, count: Callable[..., tuple[str, int]]) -> None:
        call = getattr(builder, name)

        def counting(*given: Any) -> Any:
            what, number = count(*given)
            counted[what] += number
            return call(*given)

        monkeypatch.setattr(builder, name, counting)

    def sectors(pointers: Any, mask: Any) -> tuple[str, int]:
        return "bytes", 32 * len(np.unique(pointers.data[mask.data] // 32))

    def product(left: Any, right: Any, *_: Any) -> tuple[str, int]:
        return "flops", 2 * left.data.shape[0] * left.data.shape[1] * right.data.shape[1]

    watched("create_masked_load", lambda pointers, mask, *_: sectors(pointers, mask))
    watched("create_masked_store", lambda pointers, _, mask, *rest: sectors(pointers, mask))
    watched("create_atomic_rmw", lambda _, pointers, value, mask, *rest: sectors(pointers, mask))
    watched("create_dot", product)

    features, layer, _ = random_layer(128, 512, 256, 64, 0, dtype=torch.float32)
    features, layer = features.bfloat16(), replace(layer, weight=layer.weight.bfloat16())
    gradient = torch.randn(512, 128).bfloat16()
    sums = fused_gpu._FeatureSums(features, layer, torch.ones(()))
    (configuration, *_) = fused_gpu.configurations(1, 128, torch.bfloat16)
    fused_gpu._carry(fused_gpu._Work(features, layer, sums=sums), gradient, configuration)

    path = Path(__file__).parents[3] / "scripts" / "gpu_on_paper.py"
    script = importlib.util.spec_from_file_location("gpu_on_paper", path)
    assert script is not None and script.loader is not None
    sys.modules["gpu_on_paper"] = module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    paper = module.carrying(labels=512, batch=128, fan_in=64, width=256)
    assert counted["flops"] == paper.tensor
    assert counted["bytes"] == pytest.approx(paper.l2, rel=0.1)
    dense = torch.zeros(512, 256).scatter_add_(1, layer.index.long(), layer.weight.float())
    torch.testing.assert_close(sums.floats, gradient.float().T @ dense, rtol=1e-3, atol=1e-3)
