import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.cases import make_positives, naive_logits, naive_loss, random_layer, random_positives

from xmc.ops.fan_in import BACKENDS, fan_in_linear, fan_in_loss, fan_in_topk, resolve_backend
from xmc.ops.fan_in.impl import reference
from xmc.ops.fan_in.impl import torch as tuned
from xmc.ops.losses import LOSSES
from xmc.types import LossName, Positives, StepOutput, TopK

backends = pytest.mark.parametrize("backend", BACKENDS)
losses = pytest.mark.parametrize("loss", LOSSES)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 labels, so that small problems have several and a last one that is not full."""
    monkeypatch.setattr(tuned, "_GATHERED_BYTES", 1)
    monkeypatch.setattr(tuned, "_DENSIFIED_BYTES", {"cpu": 1})
    monkeypatch.setattr(reference, "_BLOCK", 50)


@st.composite
def problems(draw: st.DrawFn) -> tuple[int, int, int, int, bool, float, int]:
    in_features = draw(st.integers(1, 40))
    return (
        draw(st.sampled_from([1, 2, 5, 17])),
        draw(st.sampled_from([1, 3, 63, 64, 65, 150])),
        in_features,
        draw(st.integers(1, in_features)),
        draw(st.booleans()),
        draw(st.sampled_from([0.0, 0.05, 1.0])),
        draw(st.integers(0, 2**16)),
    )


def autograd(
    features: torch.Tensor,
    weight: torch.Tensor,
    index: torch.Tensor,
    bias: torch.Tensor,
    positives: Positives,
    loss: LossName,
) -> StepOutput:
    leaves = [t.clone().requires_grad_() for t in (features, weight, bias)]
    total = naive_loss(naive_logits(leaves[0], leaves[1], index, leaves[2]), positives, loss)
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
@settings(max_examples=60, deadline=None)
def test_loss_equals_autograd_of_the_dense_formula(
    backend: str, loss: LossName, problem: tuple[int, int, int, int, bool, float, int]
) -> None:
    documents, n_labels, in_features, fan_in, duplicates, density, seed = problem
    *layer, generator = random_layer(documents, n_labels, in_features, fan_in, seed, duplicates=duplicates)
    positives = random_positives(documents, n_labels, density, generator)
    exact = autograd(*layer, positives, loss)
    assert_outputs(fan_in_loss(*layer, positives, loss, backend=backend), exact, 1e-12)
    features, weight, index, bias = layer
    single = fan_in_loss(features.float(), weight.float(), index, bias.float(), positives, loss, backend=backend)
    assert all(getattr(single, name).dtype == torch.float32 for name in StepOutput.__slots__)
    assert_outputs(single, exact, 1e-5)


@given(problem=problems())
@settings(max_examples=30, deadline=None)
def test_error_in_single_precision_is_that_of_the_reference(
    problem: tuple[int, int, int, int, bool, float, int],
) -> None:
    documents, n_labels, in_features, fan_in, duplicates, density, seed = problem
    *layer, generator = random_layer(documents, n_labels, in_features, fan_in, seed, duplicates=duplicates)
    positives = random_positives(documents, n_labels, density, generator)
    features, weight, index, bias = layer
    single = (features.float(), weight.float(), index, bias.float())
    exact = autograd(*(t if t is index else t.double() for t in single), positives, "bce")
    ours = fan_in_loss(*single, positives, "bce", backend="torch")
    specified = fan_in_loss(*single, positives, "bce", backend="reference")
    for name in StepOutput.__slots__:
        wanted = getattr(exact, name)
        rounding = 16 * torch.finfo(torch.float32).eps * max(1.0, float(wanted.abs().max()))
        error, allowed = ((getattr(o, name) - wanted).abs().max() for o in (ours, specified))
        assert error <= allowed + rounding, name


@backends
@given(problem=problems())
@settings(max_examples=40, deadline=None)
def test_linear_has_the_gradients_of_the_dense_formula(
    backend: str, problem: tuple[int, int, int, int, bool, float, int]
) -> None:
    documents, n_labels, in_features, fan_in, duplicates, _, seed = problem
    features, weight, index, bias, generator = random_layer(
        documents, n_labels, in_features, fan_in, seed, duplicates=duplicates
    )
    leaves = [t.requires_grad_() for t in (features, weight, bias)]
    logits = fan_in_linear(features, weight, index, bias, backend=backend)
    expected = naive_logits(features, weight, index, bias)
    torch.testing.assert_close(logits, expected)
    incoming = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    ours, wanted = (torch.autograd.grad(output, leaves, incoming) for output in (logits, expected))
    torch.testing.assert_close(ours, wanted)


@backends
@pytest.mark.parametrize("fan_in", [4, 12])
def test_linear_passes_gradcheck(backend: str, fan_in: int) -> None:
    features, weight, index, bias, _ = random_layer(3, 70, 16, fan_in, 0)
    leaves = (features.requires_grad_(), weight.requires_grad_(), bias.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, w, b: fan_in_linear(f, w, index, b, backend=backend), leaves)


@backends
@losses
@pytest.mark.parametrize("fan_in", [4, 12])
def test_active_slots(backend: str, loss: LossName, fan_in: int) -> None:
    """Output and feature gradient as if only the first slots existed, weight gradient of all slots."""
    features, weight, index, bias, generator = random_layer(5, 150, 16, fan_in, 0)
    positives = random_positives(5, 150, 0.1, generator)
    active = fan_in // 2
    out = fan_in_loss(features, weight, index, bias, positives, loss, active=active, backend=backend)
    masked = weight.clone()
    masked[:, active:] = 0
    assert_outputs(out, autograd(features, masked, index, bias, positives, loss), 1e-12)
    ranked = fan_in_topk(features, weight, index, bias, 7, active=active, backend=backend)
    first = naive_logits(features, masked, index, bias)
    assert torch.equal(ranked.labels, first.float().sort(dim=1, descending=True, stable=True).indices[:, :7])


@backends
@losses
def test_shards_sum_up_to_the_whole(backend: str, loss: LossName) -> None:
    features, weight, index, bias, generator = random_layer(4, 150, 16, 3, 0)
    positives = random_positives(4, 150, 0.1, generator)
    whole = fan_in_loss(features, weight, index, bias, positives, loss, backend=backend)
    best = fan_in_topk(features, weight, index, bias, 5, backend=backend)
    bounds = [0, 40, 41, 150]
    parts, tops = [], []
    for first, last in itertools.pairwise(bounds):
        shard = (features, weight[first:last], index[first:last], bias[first:last])
        parts.append(fan_in_loss(*shard, positives, loss, label_offset=first, backend=backend))
        tops.append(fan_in_topk(*shard, 5, label_offset=first, backend=backend))
    assert_outputs(
        StepOutput(
            torch.stack([p.loss for p in parts]).sum(),
            torch.stack([p.grad_features for p in parts]).sum(0),
            torch.cat([p.grad_weight for p in parts]),
            torch.cat([p.grad_bias for p in parts]),
        ),
        whole,
        1e-12,
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
    layer = (features, weight, index, torch.zeros(130))
    out = fan_in_loss(*layer, positives, loss, backend=backend)
    exact = autograd(*(t if t is index else t.double() for t in layer), positives, loss)
    assert_outputs(out, exact, 1e-6)
    assert torch.isfinite(out.grad_features).all()


@backends
@given(problem=problems(), k=st.sampled_from([1, 4, 200]))
@settings(max_examples=30, deadline=None)
def test_topk_equals_a_stable_sort(backend: str, problem: tuple[int, int, int, int, bool, float, int], k: int) -> None:
    documents, n_labels, in_features, fan_in, duplicates, _, seed = problem
    layer = random_layer(documents, n_labels, in_features, fan_in, seed, duplicates=duplicates)
    features, weight, index, bias, _ = layer
    # Small integers: exact sums, many ties.
    rounded = (features.round(), weight.round(), index, bias.round())
    ranked = fan_in_topk(*rounded, k, label_offset=1000, backend=backend)
    scores, labels = naive_logits(*rounded).float().sort(dim=1, descending=True, stable=True)
    n = min(k, n_labels)
    assert ranked.labels.shape == ranked.scores.shape == (documents, k)
    assert torch.equal(ranked.labels[:, :n], labels[:, :n] + 1000) and torch.equal(ranked.scores[:, :n], scores[:, :n])
    assert (ranked.labels[:, n:] == -1).all() and (ranked.scores[:, n:] == -torch.inf).all()


@pytest.mark.parametrize("fan_in", [8, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@backends
def test_half_precision_features(backend: str, dtype: torch.dtype, fan_in: int) -> None:
    features, weight, index, bias, generator = random_layer(4, 100, 40, fan_in, 0)
    positives = random_positives(4, 100, 0.1, generator)
    features = features.to(dtype)
    out = fan_in_loss(features, weight.float(), index, bias.float(), positives, "bce", backend=backend)
    assert (out.grad_features.dtype, out.grad_weight.dtype) == (dtype, torch.float32)
    assert_outputs(out, autograd(features.double(), weight, index, bias, positives, "bce"), 0.03)
    assert fan_in_topk(features, weight.float(), index, bias.float(), 3, backend=backend).scores.dtype == torch.float32


@backends
def test_wide_features_take_a_32_bit_index(backend: str) -> None:
    features, weight, index, bias, generator = random_layer(2, 5, 40_000, 3, 0)
    assert index.dtype == torch.int32 and int(index.max()) > 32_767
    positives = random_positives(2, 5, 0.5, generator)
    out = fan_in_loss(features, weight, index, bias, positives, "bce", backend=backend)
    assert_outputs(out, autograd(features, weight, index, bias, positives, "bce"), 1e-12)


@losses
@pytest.mark.parametrize(("documents", "fan_in"), [(32, 8), (33, 48), (9, 5)])
def test_same_bits_run_after_run_and_for_any_number_of_threads(
    loss: LossName, documents: int, fan_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the gathered form promises (its budget is set back to a size at which threads share a block)."""
    monkeypatch.setattr(tuned, "_GATHERED_BYTES", 4 << 20)
    features, weight, index, bias, generator = random_layer(documents, 5001, 192, fan_in, 0)
    positives = random_positives(documents, 5001, 0.001, generator)
    layer = (features.float(), weight.float(), index, bias.float())
    threads = torch.get_num_threads()
    outputs: list[tuple[StepOutput, TopK]] = []
    try:
        for n in (1, 2, 3, 1):
            torch.set_num_threads(n)
            out = fan_in_loss(*layer, positives, loss, backend="torch")
            outputs.append((out, fan_in_topk(*layer, 5, backend="torch")))
    finally:
        torch.set_num_threads(threads)
    first, first_top = outputs[0]
    for out, top in outputs[1:]:
        assert all(torch.equal(getattr(out, name), getattr(first, name)) for name in StepOutput.__slots__)
        assert torch.equal(top.labels, first_top.labels) and torch.equal(top.scores, first_top.scores)


def test_parameters_of_a_model_leave_no_graph() -> None:
    features, weight, index, bias, generator = random_layer(2, 5, 16, 3, 0)
    positives = random_positives(2, 5, 0.5, generator)
    weight, bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
    out = fan_in_loss(features.requires_grad_(), weight, index, bias, positives, "bce")
    assert not any(getattr(out, name).requires_grad for name in StepOutput.__slots__)


def test_auto_takes_the_first_that_serves_and_says_why_others_do_not() -> None:
    assert resolve_backend("cpu") == ("torch", {})
    name, passed_over = resolve_backend("meta")
    assert name == "reference" and "meta" in passed_over["torch"]


def test_a_back_end_asked_for_by_name_does_not_fall_back() -> None:
    with pytest.raises(ValueError, match=r"backend: 'torch' cannot serve .* on meta .*tuned for cpu and cuda"):
        resolve_backend("meta", requested="torch")
    with pytest.raises(ValueError, match="expected auto or one of torch, reference, got 'cudnn'"):
        resolve_backend("cpu", requested="cudnn")
