"""What a training step of the output layer costs on a GPU, on paper: FLOPs, bytes and atomics of each form.

usage: python scripts/gpu_on_paper.py [--batch 128] [--fan-in 64] [--width 768]

Prints the tables of docs/results/gpu_on_paper.md. A kernel takes at least as long as the slowest of its resources would
alone, a form as long as its kernels. Figures of cards are the makers', those of the L2 are measurements that others
published, rounded.
"""

import argparse
from dataclasses import dataclass

SETS = {"Amazon-670K": 670_091, "Amazon-3M": 2_812_281}
COLUMNS = 128  # of a program of the densified form
GROUPS = 32
SECTOR = 32  # bytes that a scattered access of the L2 moves
TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Card:
    """A second of it. tensor: FLOPs in bfloat16. plain: FLOPs in float32. memory, l2, l1: bytes. atomics: of 64 bits.

    cache: bytes of a multiprocessor's L1.
    """

    name: str
    tensor: float
    plain: float
    memory: float
    l2: float
    l1: float
    cache: float
    atomics: float


@dataclass(frozen=True)
class Cost:
    """Of a kernel. tensor, plain: FLOPs. memory, l2: bytes. atomics: of 64 bits.

    table: bytes of columns of the features that are gathered, from the L1 as far as that holds them all, `held`.
    """

    tensor: float = 0
    plain: float = 0
    memory: float = 0
    l2: float = 0
    table: float = 0
    held: float = 0
    atomics: float = 0

    def milliseconds(self, card: Card) -> tuple[float, str]:
        """The least time, and what decides it."""
        missed = self.table * (1 - min(1, card.cache / self.held)) if self.held else 0
        spent = {
            "tensor cores": self.tensor / card.tensor,
            "arithmetic": self.plain / card.plain,
            "memory": self.memory / card.memory,
            "L2": (self.l2 + missed) / card.l2,
            "L1": self.table / card.l1,
            "atomics": self.atomics / card.atomics,
        }
        slowest = max(spent, key=lambda name: spent[name])
        return 1e3 * spent[slowest], slowest


CARDS = (
    Card("RTX 4090", 165 * TERA, 83 * TERA, 1.01 * TERA, 5 * TERA, 41 * TERA, 128 << 10, 480 * GIGA),
    Card("A100 80 GB", 312 * TERA, 19.5 * TERA, 2.04 * TERA, 5 * TERA, 19.5 * TERA, 192 << 10, 450 * GIGA),
    Card("H100 SXM", 989 * TERA, 67 * TERA, 3.35 * TERA, 5.5 * TERA, 30 * TERA, 256 << 10, 610 * GIGA),
)


def costs(labels: int, batch: int, fan_in: int, width: int) -> dict[str, list[Cost]]:
    """The kernels of a step in place, features and weights in bfloat16, columns in 16 bits."""
    connections = labels * fan_in
    stream = 6 * connections  # weight and column read, weight written
    gathered, dense = 6 * batch * connections, 6 * batch * labels * width
    table, read = 2 * width * batch, 2 * 2 * batch * connections  # for the logits and for the weights' gradient
    gradient = 2 * batch * labels  # of the logits
    return {
        "gather": [Cost(plain=gathered, memory=stream, table=read, held=table, atomics=batch * connections)],
        f"gather, groups of {GROUPS}": [
            Cost(
                tensor=gathered,
                memory=stream - 2 * connections * (1 - 1 / GROUPS),
                table=read / GROUPS,
                held=table,
                atomics=batch * connections / GROUPS,
            )
        ],
        "gather, and the features' gradient by column": [
            Cost(
                plain=gathered,
                memory=stream + 4 * connections,  # weights and labels once more, in the order of their columns
                l2=2 * batch * connections + 2 * gradient,  # a row of the logits' gradient a connection
                table=read,
                held=table,
            )
        ],
        "gather, and the features' gradient densified": [
            # with a copy of the weights before the update
            Cost(plain=2 / 3 * gathered, memory=stream + 4 * connections + gradient, table=read, held=table),
            carrying(labels, batch, fan_in, width),
        ],
        "dense, bfloat16": [Cost(tensor=dense, memory=2 * 2 * labels * width, l2=3 * 2 * labels * width)],
    }


def carrying(labels: int, batch: int, fan_in: int, width: int, documents: int = 128) -> Cost:
    """The kernel that multiplies densified weights by the logits' gradient. documents: of a program.

    The scratch is made zero and read, in float32, and scattered to; weights, columns and the logits' gradient are read
    once for each part of the columns.
    """
    parts, again = -(-width // COLUMNS), -(-batch // documents)
    once, gradient = 4 * labels * fan_in, 2 * batch * labels
    scratch = 2 * 4 * labels * parts * COLUMNS + SECTOR * labels * fan_in
    return Cost(
        tensor=2 * batch * labels * parts * COLUMNS,
        memory=once + gradient,
        l2=again * (scratch + parts * once) + parts * gradient,
    )


def told(kernels: list[tuple[float, str]]) -> str:
    """The time of a form, and what decides that of each kernel."""
    return f"{sum(time for time, _ in kernels):.2f} ms, {', '.join(what for _, what in kernels)}"


def main() -> None:
    """Print a table a set."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--fan-in", type=int, default=64)
    parser.add_argument("--width", type=int, default=768)
    options = parser.parse_args()
    for name, labels in SETS.items():
        print(f"## {name}: L = {labels:,}, K = {options.fan_in}, D = {options.width}, B = {options.batch}\n")
        header = ["form", "TFLOP", "GB of memory", "GB through L2", "10^9 atomics", *(card.name for card in CARDS)]
        print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
        for form, kernels in costs(labels, options.batch, options.fan_in, options.width).items():
            amounts = (
                sum(kernel.tensor + kernel.plain for kernel in kernels) / TERA,
                *(sum(getattr(kernel, name) for kernel in kernels) / GIGA for name in ("memory", "l2", "atomics")),
            )
            times = (told([kernel.milliseconds(card) for kernel in kernels]) for card in CARDS)
            print(f"| {form} | {' | '.join([*(f'{amount:.2f}' for amount in amounts), *times])} |")
        print()


if __name__ == "__main__":
    main()
