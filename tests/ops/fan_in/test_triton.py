"""Triton without a GPU: numerics through its interpreter, and builds for GPUs that are not here."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pretend_cuda import pretend_cuda

pytest.importorskip("triton", reason="triton is not installed")
ROOT = Path(__file__).parents[3]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


CARRIES = "loss_equals or sgd_step_is or gradients_of or active or same_bits or several_tiles or on_paper"


STEPS = "fastest or (waits and sgd and not micro)"


@pytest.mark.parametrize(
    "densified", [pytest.param(CARRIES, id="what carries"), pytest.param("triton", id="all", marks=pytest.mark.slow)]
)
def test_numerics_through_the_interpreter(densified: str) -> None:
    """Every test of the op's contract, on CPU tensors, by either form; what tells the forms apart always.

    In the same process, a step and the choice of the fastest, launched as on a GPU.
    """
    chosen = f"(triton and (atomic or densified and ({densified}))) or {STEPS}"
    files = ("tests/ops/fan_in/test_api.py", "tests/integration/test_pretend_cuda.py")
    told = run("-m", "pytest", "-n0", "-q", "-k", chosen, *files, TRITON_INTERPRET="1")
    assert "passed" in told


@pytest.mark.slow
@pytest.mark.parametrize("form", ["densified", "triton"])
def test_numerics_launched_as_on_a_gpu(form: str) -> None:
    told = run("-m", "pytest", "-n0", "-q", "-k", form, "tests/ops/fan_in/test_devices.py", TRITON_INTERPRET="1")
    assert "passed" in told


WHOLE = [pytest.param(capability, "0/1", marks=pytest.mark.slow) for capability in (80, 89, 90, 120)]


@pytest.mark.parametrize(("capability", "part"), [(90, "2/4"), *WHOLE])
def test_kernels_build_and_do_not_spill(capability: int, part: str) -> None:
    """Of each configuration a few: some of all modes and types, or all."""
    chosen = f"--capability {capability} --group 1 32 --batch 128 --mode squared_hinge logits carry --part {part}"
    table = run("scripts/compile_kernels.py", *chosen.split())
    rows = [line for line in table.splitlines() if line.startswith(f"| {capability} |")]
    tried = Counter(line.split(" | ")[7] for line in rows)
    names = ("plain", "plain, twice the warps", "groups", "densified, 64 columns", "densified, 128 columns")
    counts = [tried[name] for name in names]
    assert counts == [6, 6, 6, 4, 4] if part == "0/1" else min(counts) > 0


@pytest.mark.slow
@pytest.mark.parametrize("part", range(16))
@pytest.mark.parametrize("capability", [80, 89, 90, 120])
def test_whatever_the_tuner_may_choose_fits(capability: int, part: int) -> None:
    """Tiles of many documents, too, which groups of 64 once asked for more shared memory with than there is."""
    run("scripts/compile_kernels.py", *f"--capability {capability} --batch 128 1024 --part {part}/16".split())


@pytest.mark.parametrize("shared", [64 << 10, 99 << 10, 227 << 10])
@pytest.mark.parametrize("size", [2, 16, 64, 100, 1 << 15])
@pytest.mark.parametrize(("narrow", "tile"), [(True, 1 << 13), (False, 1 << 12)])
def test_a_tile_of_documents_follows_the_group(size: int, shared: int, narrow: bool, tile: int) -> None:
    import torch

    from xmc.ops.fan_in.impl.fused_gpu import SLOTS, most_documents

    documents = most_documents(size, shared, torch.bfloat16 if narrow else torch.float32)
    assert documents & (documents - 1) == 0
    assert documents == 16 or (documents <= 256 and documents * max(16, size) <= tile)
    assert documents == 16 or documents * (4 * max(16, size) + 8 * SLOTS) <= shared


def test_a_rehearsal_changes_nothing_of_the_work() -> None:
    """What is timed before the first launch is the same call on copies of the first labels."""
    import torch

    from xmc.ops.fan_in import FanIn
    from xmc.ops.fan_in.impl import fused_gpu
    from xmc.sparsity.topology import init_index

    n_labels, fan_in, width, batch = fused_gpu.REHEARSED + 70, 3, 20, 4
    features, weight = torch.randn(batch, width), torch.randn(n_labels, fan_in)
    index, bias = init_index(-(-n_labels // 32), fan_in, width, 0), torch.zeros(n_labels)
    layer = FanIn(weight, index, bias)
    sums = fused_gpu._FeatureSums(features, layer, torch.ones(()))
    grads = torch.zeros(n_labels, fan_in), torch.zeros(n_labels)
    trial = fused_gpu._Work(features, layer, sums=sums, grads=grads).rehearsal()
    assert len(trial.layer) == fused_gpu.REHEARSED == 32 * len(trial.layer.index)
    assert trial.sums is not None and trial.grads is not None
    for written in (trial.layer.weight, trial.layer.bias, trial.sums.integers, *trial.grads):
        written.fill_(7)
    assert not any((kept == 7).any() for kept in (weight, bias, sums.integers, *grads))


def test_without_a_c_compiler_it_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from xmc.ops.fan_in import resolve_backend
    from xmc.ops.fan_in.impl import fused_gpu, triton_kernels

    class Probe:
        built = 0

        def __getitem__(self, grid: tuple[int]) -> object:
            self.built += 1
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable")

    probe = Probe()
    with pretend_cuda():
        monkeypatch.setattr(triton_kernels, "probe", probe)
        fused_gpu._fault.cache_clear()
        for _ in range(2):
            name, passed_over = resolve_backend("cuda")
            assert name == "torch" and passed_over["triton"].endswith(
                "Failed to find C compiler. Please specify via CC environment variable"
            )
        assert probe.built == 1, "once is enough"
        with pytest.raises(ValueError, match=r"'triton' cannot serve .* on cuda .*no kernel can be launched"):
            resolve_backend("cuda", requested="triton")
    fused_gpu._fault.cache_clear()
    monkeypatch.delattr(fused_gpu.triton, "knobs")
    name, passed_over = resolve_backend("cuda", torch.float32)
    assert name == "torch" and "needs Triton 3.4 or later, and" in passed_over["triton"]


@pytest.mark.parametrize("weight", [0.0, 1e-38, 1.0, 1e30])
def test_the_fixed_point_scale_is_a_number(weight: float) -> None:
    import torch

    from xmc.ops.fan_in import FanIn
    from xmc.ops.fan_in.impl.fused_gpu import _FeatureSums

    layer = FanIn(torch.full((5, 2), weight), torch.zeros(5, 2, dtype=torch.int16), torch.zeros(5))
    scale = _FeatureSums(torch.ones(3, 4), layer, torch.ones(())).scale
    assert torch.isfinite(scale) and scale > 0 and 10 * weight * float(scale) <= 2.0**62
