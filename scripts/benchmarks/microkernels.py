"""Each microkernel of the numba back end against the same loop in plain numba, on one thread.

usage: python scripts/benchmarks/microkernels.py [--width 768] [--fan-in 32] [--batch 8 32 64 128] [--labels 8192]
           [--repeats 15]

Both run inside one compiled loop over the labels, as in the op, in turn; figures are medians of processor time a
label, and of its quotient. The plain loops are inlined, may divide by zero, and have fast-math but for what would lose
NaN; the exponential is the library's or the microkernel's own polynomial. A plain loop whose result is off by more than
rounding gets no time.
"""

import argparse
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import njit
from numba.extending import register_jitable
from numpy.typing import NDArray

from xmc.ops.fan_in.impl import microkernels

FASTMATH = {"reassoc", "contract", "nsz", "arcp", "afn"}  # all but "no NaN" and "no infinity"
F32, I32 = np.float32, np.int32
TOLERANCE = 1e-4

Arrays = dict[str, NDArray[Any]]
inlined = register_jitable(inline="always")


@inlined
def forward(table, index, group, weight, bias, row, labels, size, fan_in, active, logits, into):
    for j in range(labels):
        logits[into + j] = bias[row + j]
        for slot in range(active):
            column, scale = index[group + j // size, slot], weight[row + j, slot]
            for lane in range(table.shape[1]):
                logits[into + j, lane] += scale * table[column, lane]


@inlined
def backward(table, grad_table, index, group, weight, row, labels, fan_in, active, gradient, origin, grad_weight, into):
    for slot in range(active):
        source, sink = table[index[group, slot]], grad_table[index[group, slot]]
        for j in range(labels):
            product, scale, logit_gradient = F32(0), weight[row + j, slot], gradient[origin + j]
            for lane in range(len(source)):
                product += source[lane] * logit_gradient[lane]
                sink[lane] += scale * logit_gradient[lane]
            grad_weight[into + j, slot] += product
    for slot in range(active, fan_in):
        for j in range(labels):
            product = F32(0)
            for lane in range(table.shape[1]):
                product += table[index[group, slot], lane] * gradient[origin + j, lane]
            grad_weight[into + j, slot] += product


@inlined
def bce(logits, row, width, scale, losses):
    for lane in range(width):
        z = logits[row, lane]
        odds = math.exp(-abs(z))
        losses[lane] += max(z, F32(0)) + math.log1p(odds)
        logits[row, lane] = scale[lane] * (odds if z < 0 else F32(1)) / (F32(1) + odds)


@inlined
def bce_polynomial(logits, row, width, scale, losses):
    for lane in range(width):
        z = logits[row, lane]
        negative = z < F32(0)
        x = z if negative else -z
        x = F32(-87) if x < F32(-87) else x
        n = I32(x * F32(1.44269504088896341) - F32(0.5))
        r = x - F32(n) * F32(0.693359375) + F32(n) * F32(2.12194440e-4)
        p = F32(1.9875691500e-4) * r + F32(1.3981999507e-3)
        p = (p * r + F32(8.3334519073e-3)) * r + F32(4.1665795894e-2)
        p = (p * r + F32(1.6666665459e-1)) * r + F32(5.0000001201e-1)
        power = I32((n + I32(127)) << I32(23)).view(F32)
        odds = (p * r * r + (r + F32(1))) * power
        s = odds / (odds + F32(2))
        q = s * s
        series = F32(2 / 15) * q + F32(2 / 13)
        series = (series * q + F32(2 / 11)) * q + F32(2 / 9)
        series = (series * q + F32(2 / 7)) * q + F32(2 / 5)
        series = (series * q + F32(2 / 3)) * q + F32(2)
        losses[lane] += s * series + (F32(0) if negative else z)
        logits[row, lane] = scale[lane] * (odds if negative else F32(1)) / (odds + F32(1))


@inlined
def squared_hinge(logits, row, width, scale, losses):
    of_label = logits[row]
    for lane in range(width):
        margin = of_label[lane] + F32(1)
        margin = F32(0) if margin < F32(0) else margin
        losses[lane] += margin * margin
        of_label[lane] = margin * F32(2) * scale[lane]


@inlined
def sgd_update(weight, row, fan_in, gradient, gradient_row, decay, rate):
    for slot in range(fan_in):
        weight[row, slot] = decay * weight[row, slot] - rate * gradient[gradient_row, slot]
        gradient[gradient_row, slot] = 0


@inlined
def row_sum(rows, row, width):
    total = F32(0)
    for lane in range(width):
        total += rows[row, lane]
    return total


def over_labels_forward(kernel: Any, **options: Any) -> Any:
    @njit(**options)
    def run(table, index, weight, bias, size, logits):
        fan_in, block = weight.shape[1], size * max(1, 16 // size)
        for row in range(0, len(weight), block):
            kernel(table, index, row // size, weight, bias, row, block, size, fan_in, fan_in, logits, row)

    return run


def over_labels_backward(kernel: Any, **options: Any) -> Any:
    @njit(**options)
    def run(table, grad_table, index, weight, size, gradient, grad_weight):
        fan_in = weight.shape[1]
        for row in range(0, len(weight), size):
            group = row // size
            kernel(table, grad_table, index, group, weight, row, size, fan_in, fan_in, gradient, row, grad_weight, row)

    return run


def over_labels_loss(kernel: Any, **options: Any) -> Any:
    @njit(**options)
    def run(logits, scale, losses):
        for row in range(len(logits)):
            kernel(logits, row, logits.shape[1], scale, losses)

    return run


def over_labels_update(kernel: Any, **options: Any) -> Any:
    @njit(**options)
    def run(weight, gradient):
        for row in range(len(weight)):
            kernel(weight, row, weight.shape[1], gradient, row, F32(0.999), F32(0.01))

    return run


def over_labels_sum(kernel: Any, **options: Any) -> Any:
    @njit(**options)
    def run(rows, sums):
        for row in range(len(rows)):
            sums[row] = kernel(rows, row, rows.shape[1])

    return run


Case = tuple[str, Callable[..., Any], Any, Sequence[Any], Callable[[], tuple[Any, ...]]]


def cases(width: int, fan_in: int, batch: int, labels: int) -> list[Case]:
    """Name, loop over the labels, microkernel, plain loops, and the arguments, fresh at each call."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape, F32)

    def columns(groups: int) -> NDArray[np.int16]:
        return np.argsort(generator.random((groups, width)), axis=1)[:, :fan_in].astype(np.int16)

    table, bias = normal(width, batch), normal(labels)
    weight, gradient, rows = normal(labels, fan_in), normal(labels, fan_in), normal(labels, batch)
    own, shared = columns(labels), columns(labels // 32)
    scale = np.full(batch, 1 / batch, F32)

    def forwards(index: NDArray[np.int16], size: int) -> Callable[[], tuple[Any, ...]]:
        return lambda: (table, index, weight, bias, size, np.zeros((labels, batch), F32))

    def backwards(index: NDArray[np.int16], size: int) -> Callable[[], tuple[Any, ...]]:
        return lambda: (table, np.zeros_like(table), index, weight, size, rows, np.zeros_like(weight))

    def loss() -> tuple[Any, ...]:
        return rows.copy(), scale, np.zeros(batch, F32)

    return [
        ("forward", over_labels_forward, microkernels.forward, [forward], forwards(own, 1)),
        ("forward, groups of 32", over_labels_forward, microkernels.forward, [forward], forwards(shared, 32)),
        ("backward", over_labels_backward, microkernels.backward, [backward], backwards(own, 1)),
        ("backward, groups of 32", over_labels_backward, microkernels.backward, [backward], backwards(shared, 32)),
        ("bce", over_labels_loss, microkernels.bce, [bce, bce_polynomial], loss),
        ("squared_hinge", over_labels_loss, microkernels.squared_hinge, [squared_hinge], loss),
        (
            *("sgd_update", over_labels_update, microkernels.sgd_update, [sgd_update]),
            lambda: (weight.copy(), gradient.copy()),
        ),
        ("row_sum", over_labels_sum, microkernels.row_sum, [row_sum], lambda: (rows, np.zeros(labels, F32))),
    ]


def processor_time(run: Any, arguments: tuple[Any, ...]) -> float:
    start = time.process_time()
    run(*arguments)
    return time.process_time() - start


def compare(case: Case, batch: int, labels: int, repeats: int) -> list[str]:
    """A row of the table for each plain loop."""
    name, over_labels, kernel, plain_loops, arguments = case
    runs = {"ours": over_labels(kernel)}
    for plain in plain_loops:
        runs[plain.__name__] = over_labels(plain, fastmath=FASTMATH, error_model="numpy")
    results = {}
    for contender, run in runs.items():
        run(*(given := arguments()))
        results[contender] = given
    times: dict[str, list[float]] = {contender: [] for contender in runs}
    for _ in range(repeats):
        for contender, run in runs.items():
            times[contender].append(processor_time(run, arguments()))
    lines = []
    for contender in list(runs)[1:]:
        pairs = [(a, b) for a, b in zip(results["ours"], results[contender], strict=True) if isinstance(a, np.ndarray)]
        off = max(float(np.abs(a.astype(float) - b).max() / max(1e-12, np.abs(a).max())) for a, b in pairs)
        same = "same bits" if all(np.array_equal(a, b) for a, b in pairs) else f"off by {off:.0e}"
        if off > TOLERANCE:
            lines.append(f"| {name} | {contender} | {batch} | | | | WRONG: {same} |")
            continue
        ours, plain = (1e9 * statistics.median(times[c]) / labels for c in ("ours", contender))
        ratio = statistics.median(b / a for a, b in zip(times["ours"], times[contender], strict=True))
        lines.append(f"| {name} | {contender} | {batch} | {ours:.1f} | {plain:.1f} | {ratio:.2f} | {same} |")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--fan-in", type=int, default=32)
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 32, 64, 128])
    parser.add_argument("--labels", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, numba {numba.__version__}, D = {options.width}, "
        f"K = {options.fan_in}, {options.labels:,} labels, one thread"
    )
    print("\n| microkernel | plain loop | B | ns a label | plain, ns | x | result |\n|---|---|---|---|---|---|---|")
    for batch in options.batch:
        for case in cases(options.width, options.fan_in, batch, options.labels):
            print("\n".join(compare(case, batch, options.labels, options.repeats)), flush=True)


if __name__ == "__main__":
    main()
