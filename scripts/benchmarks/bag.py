"""Time of a bag's passes over its table, compiled for the CPU and by torch's operators, by the number of threads.

usage: python scripts/benchmarks/bag.py [--rows 125000] [--width 1024] [--batch 64] [--words 28] [--threads 1 2]
           [--batches 40] [--repeats 15] [--out runs/benchmarks/bag]

The passes are those of a training step on documents of --words words: their terms are counted, the terms' rows summed,
the norm of the table's gradient found and the rows updated. The n-th word is as likely as 1/n, and pairs of the first
200 are bigrams. Every pass is timed on each of --batches batches, again and again; a figure is the mean over batches of
the least time. What is computed is checked against torch's operators first. Prints a table and writes OUT.json.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from xmc.ops.bag import Bags
from xmc.ops.bag.impl import fused_cpu, stock

BACK_ENDS = {"torch": stock, "numba": fused_cpu}
PASSES = ["terms", "sums", "norm", "update"]
FIRST_WORD = 2
PAIRED = 200  # words whose pairs are bigrams


@dataclass(frozen=True)
class Row:
    """Milliseconds of each pass, and of all."""

    back_end: str
    threads: int
    terms: float
    sums: float
    norm: float
    update: float

    @property
    def total(self) -> float:
        return self.terms + self.sums + self.norm + self.update


class Step:
    """What the passes of one step take. table: [R, D], words first, bigrams behind them."""

    def __init__(self, table: Tensor, size: int, words: int, generator: torch.Generator) -> None:
        vocab, first = len(table) - PAIRED**2, torch.arange(FIRST_WORD, FIRST_WORD + PAIRED)
        likely = 1 / torch.arange(1, vocab - FIRST_WORD + 1)
        ids = FIRST_WORD + torch.multinomial(likely.expand(size, -1), words, replacement=True, generator=generator)
        bigrams = (first[:, None] * vocab + first).flatten()
        self._words = ids, torch.ones_like(ids), bigrams, FIRST_WORD, vocab
        documents, terms, counts = stock.count_terms(*self._words)
        self._table, self._bags = table, Bags.of(documents, terms, counts.float(), size)
        self._rows, self._by_row = self._bags.by_row()
        self._of_sums = torch.randn(size, table.shape[1], generator=generator)

    def run(self, name: str, back_end: ModuleType, factor: float = 1e-6) -> Tensor:
        """One pass; returns what it computed."""
        if name == "terms":
            return torch.stack(back_end.count_terms(*self._words))
        if name == "sums":
            sums: Tensor = back_end.sums(self._table, self._bags)
            return sums
        if name == "norm":
            return torch.tensor(back_end.sum_of_squares(self._of_sums, self._by_row))
        back_end.add_(self._table, self._rows, self._of_sums, self._by_row, factor)
        return self._table

    def check(self, back_end: ModuleType) -> None:
        """Raise AssertionError where it computes something else than torch."""
        for name in PASSES[:-1]:
            torch.testing.assert_close(self.run(name, back_end), self.run(name, stock), rtol=1e-4, atol=1e-4)
        before = self._table.clone()
        self.run("update", stock, 1.0)
        torch.testing.assert_close(self.run("update", back_end, -1.0), before, rtol=1e-4, atol=1e-4)


def measure(steps: list[Step], name: str, back_end: ModuleType, repeats: int) -> float:
    """Milliseconds of a pass: of each step the least, on average over the steps."""
    least = [float("inf")] * len(steps)
    for _ in range(repeats):
        for i, step in enumerate(steps):
            started = time.perf_counter()
            step.run(name, back_end)
            least[i] = min(least[i], time.perf_counter() - started)
    return 1000 * statistics.mean(least)


def table(rows: list[Row]) -> str:
    """speedup: over torch's operators with the first number of threads."""
    head = ("back end", "threads", *(f"{name}, ms" for name in PASSES), "total, ms", "speedup")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        figures = [f"{getattr(row, name):.2f}" for name in [*PASSES, "total"]]
        cells = [row.back_end, str(row.threads), *figures, f"{rows[0].total / row.total:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Check, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    for name, default in {
        "rows": 125_000,
        "width": 1024,
        "batch": 64,
        "words": 28,
        "batches": 40,
        "repeats": 15,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/bag"))
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(options.rows, options.width, generator=generator)
    steps = [Step(weights, options.batch, options.words, generator) for _ in range(options.batches)]
    steps[0].check(fused_cpu)
    rows = []
    for back_end, module in BACK_ENDS.items():
        for threads in options.threads:
            torch.set_num_threads(threads)
            rows.append(Row(back_end, threads, *(measure(steps, name, module, options.repeats) for name in PASSES)))
    print(table(rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(f"-> {options.out.with_suffix('.json')}")


if __name__ == "__main__":
    main()
