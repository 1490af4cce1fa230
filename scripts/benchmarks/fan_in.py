"""Time, memory and share of the machine's ceiling of the fixed fan-in op and its rivals on a CPU.

usage: python scripts/benchmarks/fan_in.py [--labels 131072] [--width 768] [--fan-in 32] [--batch 1 32 64 128]
           [--group 1 32] [--repeats 15] [--threads 2] [--out runs/benchmarks/fan_in]

One process times all contenders of a function in turn, again and again, so that they meet the same machine; figures
are medians. A contender whose result is wrong on that very input gets no time. Rivals are a dense layer of the same
function in blocks of labels (with the same loss and update), torch's sparse CSR, and `embedding_bag`. Prints a table,
and writes OUT.json as it goes and, where matplotlib is installed, OUT.png.
"""

import argparse
import ctypes
import gc
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xmc.ops.blocks import label_blocks, label_slices
from xmc.ops.fan_in import FanIn, fan_in_linear, fan_in_loss, fan_in_sgd_step, fan_in_topk, index_dtype
from xmc.ops.losses import loss_and_gradient_
from xmc.sparsity.topology import init_index
from xmc.types import InPlaceUpdate, Positives

FUNCTIONS = ["linear", "loss", "sgd_step", "topk"]
K_BEST = 10
LR = 1e-3
DENSE_BLOCK = 2048
DENSE_LIMIT = 4 << 30  # bytes of a dense weight beyond which the dense rival stays out
TOLERANCE = 1e-4

Call = Callable[[], Any]
Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Shape:
    """L labels, D features, K fan-in, B documents, labels a group."""

    L: int
    D: int
    K: int
    B: int
    group: int


@dataclass(frozen=True)
class Row:
    """One contender at one function and shape. share: of the least time the ceilings allow; speedup: over dense."""

    function: str
    contender: str
    shape: Shape
    milliseconds: float | None
    gflops: float | None
    share: float | None
    speedup: float | None
    peak_mib: float | None
    note: str = ""


class Problem:
    """Inputs of a shape, the reference's results in float64, and every contender as a call."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.shape = shape
        n_groups = -(-shape.L // shape.group)
        self.features = torch.randn(shape.B, shape.D, generator=generator)
        self.weight = torch.randn(shape.L, shape.K, generator=generator).mul_(shape.K**-0.5)
        self.index = init_index(n_groups, shape.K, shape.D, seed)
        self.bias = torch.full((shape.L,), -6.0)
        labels = torch.randint(shape.L, (shape.B, 3), generator=generator).sort(1).values
        self.positives = Positives(torch.arange(0, 3 * shape.B + 1, 3), labels.flatten())
        self.dense: Tensor | None = None
        if 4 * shape.L * shape.D <= DENSE_LIMIT:
            self.dense = torch.zeros(shape.L, shape.D)
            for s in label_slices(shape.L, 8192):
                columns = self.index[torch.arange(s.start, s.stop) // shape.group].long()
                self.dense[s].scatter_add_(1, columns, self.weight[s])

    @property
    def layer(self) -> FanIn:
        return FanIn(self.weight, self.index, self.bias)

    def contenders(self, function: str) -> Iterator[tuple[str, Call]]:
        """Names and calls of all that compute `function`. A step that works in place is undone by `restore`."""
        for backend in ("numba", "torch"):
            yield backend, self._ours(function, backend)
        if self.dense is not None:
            yield (
                "dense",
                {
                    "linear": lambda: self.features @ self._dense.T + self.bias,
                    "topk": lambda: (self.features @ self._dense.T + self.bias).topk(K_BEST),
                    "loss": lambda: self._dense_pass(update=False),
                    "sgd_step": lambda: self._dense_pass(update=True),
                }[function],
            )
        if function == "linear":
            columns = self.index.repeat_interleave(self.shape.group, 0)[: self.shape.L].int()
            starts = torch.arange(0, self.weight.numel() + 1, self.shape.K)
            csr = torch.sparse_csr_tensor(
                starts, columns.long().flatten(), self.weight.flatten(), (self.shape.L, self.shape.D)
            )
            yield "torch sparse CSR", lambda: (csr @ self.features.T).T + self.bias
            table = self.features.T.contiguous()
            yield (
                "embedding_bag",
                lambda: F.embedding_bag(columns, table, mode="sum", per_sample_weights=self.weight).T + self.bias,
            )

    def expected(self, function: str) -> Outputs:
        """What the reference says in float64."""
        features, layer = self.features.double(), FanIn(self.weight.double(), self.index, self.bias.double())
        if function == "linear":
            return (fan_in_linear(features, layer, backend="reference"),)
        if function == "topk":
            return (fan_in_topk(features, layer, K_BEST, backend="reference").scores,)
        out = fan_in_loss(features, layer, self.positives, "bce", backend="reference")
        if function == "loss":
            return out.loss, out.grad_features, out.grad_weight, out.grad_bias
        return out.loss, out.grad_features, layer.weight - LR * out.grad_weight, layer.bias - LR * out.grad_bias

    def outputs(self, function: str, contender: str, result: Any) -> Outputs:
        """A result in the form of `expected`. The dense gradient is read where the connections are."""
        if function == "linear":
            return (result,)
        if function == "topk":
            return (result.scores if hasattr(result, "scores") else result.values,)
        if function == "loss":
            loss, grad_features, grad_weight, grad_bias = (
                result if isinstance(result, tuple) else (getattr(result, n) for n in type(result).__slots__)
            )
            return loss, grad_features, self._connections(grad_weight), grad_bias
        loss, grad_features = result
        weight = self._connections(self._dense) if contender == "dense" else self.weight
        return loss, grad_features, weight, self.bias

    def snapshot(self) -> Call:
        """A call that puts weights and bias back as they are now."""
        kept = [(t, t.clone()) for t in (self.weight, self.bias, self.dense) if t is not None]
        return lambda: [t.copy_(old) for t, old in kept]

    @property
    def _dense(self) -> Tensor:
        assert self.dense is not None
        return self.dense

    def _connections(self, weight: Tensor) -> Tensor:
        if weight.shape == self.weight.shape:
            return weight
        columns = self.index[torch.arange(self.shape.L) // self.shape.group].long()
        return weight.gather(1, columns)

    def _ours(self, function: str, backend: str) -> Call:
        given, positives = (self.features, self.layer), self.positives
        calls: dict[str, Call] = {
            "linear": lambda: fan_in_linear(*given, backend=backend),
            "topk": lambda: fan_in_topk(*given, K_BEST, backend=backend),
            "loss": lambda: fan_in_loss(*given, positives, "bce", backend=backend),
            "sgd_step": lambda: fan_in_sgd_step(*given, positives, "bce", InPlaceUpdate(LR), backend=backend),
        }
        return calls[function]

    def _dense_pass(self, *, update: bool) -> Outputs:
        """What dense systems do at this size: a block of labels at a time, updated at once or its gradient kept."""
        grad_weight = None if update else torch.empty_like(self._dense)
        grad_bias = torch.empty_like(self.bias)
        grad_features = torch.zeros_like(self.features)
        total = torch.zeros((), dtype=torch.float64)
        for block in label_blocks(self.positives, 0, self.shape.L, DENSE_BLOCK):
            s = block.labels
            logits = torch.addmm(self.bias[s], self.features, self._dense[s].T)
            losses, gradient = loss_and_gradient_(logits, (block.document, block.label), "bce")
            total += losses.sum(dtype=torch.float64)
            gradient /= self.shape.B
            grad_features.addmm_(gradient, self._dense[s])
            grad_bias[s] = gradient.sum(0)
            if grad_weight is None:
                self._dense[s].addmm_(gradient.T, self.features, alpha=-LR)
                self.bias[s] -= LR * grad_bias[s]
            else:
                torch.mm(gradient.T, self.features, out=grad_weight[s])
        loss = (total / self.shape.B).float()
        return (loss, grad_features) if grad_weight is None else (loss, grad_features, grad_weight, grad_bias)


def flops(function: str, s: Shape) -> int:
    return (2 if function in ("linear", "topk") else 6) * s.B * s.L * s.K


def compulsory_bytes(function: str, s: Shape) -> int:
    """Bytes that must cross the memory bus at least once: weights, index, bias, and what is written."""
    weight, index = 4 * s.L * s.K, index_dtype(s.D).itemsize * -(-s.L // s.group) * s.K
    written = {"linear": 4 * s.B * s.L, "topk": 0, "loss": weight + 4 * s.L, "sgd_step": weight + 4 * s.L}[function]
    return weight + index + 4 * s.L + 8 * s.B * s.D + written


def measure_ceilings() -> tuple[float, float]:
    """Copy bandwidth in bytes/s and matmul rate in FLOP/s of this machine, with the threads torch has."""
    a, b = torch.ones(1 << 26), torch.empty(1 << 26)
    copy = min(timed(lambda: b.copy_(a)) for _ in range(7))
    n = 4096
    x, y = torch.randn(n, n), torch.randn(n, n)
    multiply = min(timed(lambda: x @ y) for _ in range(5))
    return 2 * a.nbytes / copy, 2 * n**3 / multiply


def timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_growth(call: Call) -> float | None:
    """MiB by which a call raises the resident memory of this process, or None where /proc does not tell."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)

    def kib(field: str) -> int:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1])

    clear.write_text("5")
    before = kib("VmRSS:")
    result = call()
    grown = kib("VmHWM:") - before
    del result
    return max(0, grown) / 1024


def wrong(actual: Outputs, expected: Outputs) -> str:
    """What is wrong with a result, or nothing."""
    for i, (ours, wanted) in enumerate(zip(actual, expected, strict=True)):
        error = float((ours.double() - wanted).abs().max()) / max(1e-12, float(wanted.abs().max()))
        if not error <= TOLERANCE:
            return f"WRONG: output {i} is off by {error:.1e} of its range"
    return ""


def run(function: str, problem: Problem, repeats: int, ceilings: tuple[float, float]) -> list[Row]:
    """Check, time and weigh every contender of a function."""
    shape, expected = problem.shape, problem.expected(function)
    calls, notes, peaks = dict(problem.contenders(function)), {}, {}
    restore = problem.snapshot() if function == "sgd_step" else lambda: None
    for name, call in calls.items():
        call()  # compile, load
        restore()
        notes[name] = wrong(problem.outputs(function, name, call()), expected)
        restore()
        peaks[name] = peak_growth(call)
    times: dict[str, list[float]] = {name: [] for name, note in notes.items() if not note}
    for _ in range(repeats):
        for name, measured in times.items():
            measured.append(timed(calls[name]))
    restore()
    least = max(compulsory_bytes(function, shape) / ceilings[0], flops(function, shape) / ceilings[1])
    rows = []
    for name in calls:
        if notes[name]:
            rows.append(Row(function, name, shape, None, None, None, None, peaks[name], notes[name]))
            continue
        median = statistics.median(times[name])
        dense = times.get("dense")
        ratio = statistics.median(d / t for d, t in zip(dense, times[name], strict=True)) if dense else None
        speed = flops(function, shape) / median / 1e9
        rows.append(Row(function, name, shape, 1e3 * median, speed, least / median, ratio, peaks[name]))
    return rows


def table(rows: list[Row]) -> str:
    head = ("function", "contender", "L", "D", "K", "B", "group", "ms", "GFLOP/s", "% of ceiling", "x dense", "MiB")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in rows:
        s = r.shape
        figures: list[str]
        if r.milliseconds is None or r.gflops is None or r.share is None:
            figures = [r.note, "", "", ""]
        else:
            speedup = "" if r.speedup is None else f"{r.speedup:.1f}"
            figures = [f"{r.milliseconds:.2f}", f"{r.gflops:.1f}", f"{100 * r.share:.0f}", speedup]
        memory = "" if r.peak_mib is None else f"{r.peak_mib:.0f}"
        cells = (r.function, r.contender, f"{s.L:,}", s.D, s.K, s.B, s.group, *figures, memory)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Time against L, and bars against the ceiling at the largest L, for the largest batch; rivals know no groups."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    batch, largest = max(r.shape.B for r in rows), max(r.shape.L for r in rows)
    shown = [
        (r, f"numba, groups of {r.shape.group}" if r.shape.group > 1 else r.contender)
        for r in rows
        if batch == r.shape.B and r.milliseconds and (r.shape.group == 1 or r.contender == "numba")
    ]
    functions = list(dict.fromkeys(r.function for r, _ in shown))
    names = list(dict.fromkeys(name for _, name in shown))
    colours = {name: f"C{i}" for i, name in enumerate(names)}
    figure, axes = plt.subplots(2, len(functions), figsize=(3 * len(functions), 5), layout="constrained", squeeze=False)
    for times, bars, function in zip(*axes, functions, strict=True):
        mine = [(r, name) for r, name in shown if r.function == function]
        for name in names:
            points = sorted((r.shape.L, r.milliseconds) for r, n in mine if n == name)
            if points:
                times.loglog(*zip(*points, strict=True), marker="o", markersize=4, color=colours[name], label=name)
        times.set(title=f"fan_in_{function}", xlabel="labels")
        at_largest = {name: 100 * (r.share or 0) for r, name in mine if largest == r.shape.L}
        bars.barh(list(at_largest), list(at_largest.values()), color=[colours[name] for name in at_largest])
        bars.set(xlabel="% of the ceiling", xlim=(0, max(100.0, *at_largest.values())), yticks=[])
        bars.invert_yaxis()
    axes[0][0].set_ylabel(f"ms, B = {batch}")
    axes[1][0].set_ylabel(f"L = {largest:,}")
    lines = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--functions", nargs="+", default=FUNCTIONS, choices=FUNCTIONS)
    parser.add_argument("--labels", nargs="+", type=int, default=[131_072])
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--fan-in", type=int, default=32)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 32, 64, 128])
    parser.add_argument("--group", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/fan_in"))
    options = parser.parse_args()
    figures_path, plots = options.out.with_suffix(".json"), find_spec("matplotlib") is not None
    figures_path.parent.mkdir(parents=True, exist_ok=True)
    if not plots:
        print("no plot: matplotlib is not installed", file=sys.stderr)
    torch.set_num_threads(options.threads)
    ceilings = measure_ceilings()
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}: "
        f"copies {ceilings[0] / 1e9:.1f} GB/s, multiplies matrices at {ceilings[1] / 1e9:.0f} GFLOP/s"
    )
    machine = {"threads": options.threads, "copy_bytes_per_s": ceilings[0], "matmul_flop_per_s": ceilings[1]}
    rows: list[Row] = []
    for n_labels, batch, group in itertools.product(options.labels, options.batch, options.group):
        problem = Problem(Shape(n_labels, options.width, options.fan_in, batch, group))
        for function in options.functions:
            found = run(function, problem, options.repeats, ceilings)
            rows += found
            print(table(found) if len(rows) == len(found) else table(found).split("\n", 2)[2], flush=True)
            figures = {"machine": machine, "rows": [asdict(row) for row in rows]}
            figures_path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"-> {figures_path}")
    if plots:
        plot(rows, options.out.with_suffix(".png"))
        print(f"-> {options.out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
