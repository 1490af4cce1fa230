"""Documents a second of training on an idle machine and beside a busy process, by threads and how they wait.

usage: python scripts/benchmarks/threads.py [override ...] [--threads 1 2] [--spins 0 1000 300000] [--steps 200]
           [--repeats 5] [--busy 1] [--out runs/benchmarks/threads]

example: python scripts/benchmarks/threads.py data=jsonl data.root=<folder>

Overrides are those of `xmc train`. Each number of threads, and of times that a waiting thread of OpenMP looks again
before it sleeps (GOMP_SPINCOUNT: 0 is OMP_WAIT_POLICY=passive, 300000 what GNU's runtime does by itself, 1000 what xmc
sets), has a process of its own, which keeps its model in memory. All train in turn, --steps at a time, idle and beside
--busy processes, again and again, so that they meet the same machine; figures are medians. A step is a training step
without rewiring, batches included. Prints a table and writes OUT.json.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.config.compose import compose
from xmc.machine import prepare_machine
from xmc.threads import OWN
from xmc.train.step import train_step
from xmc.types import Batch

WARM_UP = 20  # steps before the first measurement


@dataclass(frozen=True)
class Speed:
    """documents a second; processor time of a document, in milliseconds."""

    documents: float
    processor: float


@dataclass(frozen=True)
class Row:
    """One way to run. spins: None where a single thread has none to wait for."""

    threads: int
    spins: int | None
    idle: list[Speed] = field(default_factory=list)
    busy: list[Speed] = field(default_factory=list)


class Trainer:
    """A process that trains when it is asked to."""

    def __init__(self, row: Row, steps: int, overrides: list[str]) -> None:
        self.row = row
        others = {name: value for name, value in os.environ.items() if name not in OWN}
        spins = {} if row.spins is None else {"GOMP_SPINCOUNT": str(row.spins)}
        command = [
            sys.executable,
            __file__,
            "--serve",
            "--threads",
            str(row.threads),
            "--steps",
            str(steps),
            *overrides,
        ]
        self._process = subprocess.Popen(
            command, env=others | spins, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.measure()  # once it is warm

    def measure(self) -> Speed:
        """Of its next steps."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        told = self._process.stdout.readline()
        if not told:
            sys.exit(f"the process with {self.row.threads} threads ended with status {self._process.wait()}")
        return Speed(**json.loads(told))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def serve(config: TrainConfig, steps: int, asked: IO[str], answers: IO[str]) -> None:
    """Train so many steps for each line of `asked`, and answer each with their speed."""
    device = prepare_machine("cpu", config.trainer.threads)
    training = factory.build_training(config, factory.load_corpus(config), device)
    batches = itertools.chain.from_iterable(training.batches.epoch(epoch) for epoch in itertools.count())
    train(training, itertools.islice(batches, WARM_UP))
    for _ in asked:
        started, used = time.perf_counter(), time.process_time()
        documents = train(training, itertools.islice(batches, steps))
        speed = Speed(documents / (time.perf_counter() - started), 1000 * (time.process_time() - used) / documents)
        print(json.dumps(asdict(speed)), file=answers, flush=True)


def train(training: factory.Training, batches: Iterator[Batch]) -> int:
    """A step on each of the batches; returns their documents."""
    state, documents = training.state, 0
    state.model.train()
    for batch in batches:
        train_step(
            *(state, batch),
            rate=1.0,
            auxiliary_weight=training.plan.auxiliary_weight,
            micro_batch_size=training.plan.micro_batch_size,
            clip_norm=training.plan.clip_norm,
            by_layer=False,
        )
        documents += len(batch)
    return documents


@contextmanager
def beside(busy: int) -> Iterator[None]:
    """So many processes that never wait."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def table(rows: list[Row]) -> str:
    head = ("threads", "spins", "idle, documents/s", "busy, documents/s", "idle, processor ms", "busy, processor ms")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        figures = [
            f"{statistics.median(getattr(speed, name) for speed in speeds):,.{digits}f}"
            for name, digits in (("documents", 0), ("processor", 3))
            for speeds in (row.idle, row.busy)
        ]
        spins = "" if row.spins is None else f"{row.spins:,}"
        lines.append("| " + " | ".join([str(row.threads), spins, *figures]) + " |")
    return "\n".join(lines)


def measure(rows: list[Row], options: argparse.Namespace) -> None:
    """Fill the rows, and write what is measured after each round."""
    with ExitStack() as processes:
        trainers = [Trainer(row, options.steps, options.overrides) for row in rows]
        for trainer in trainers:
            processes.callback(trainer.close)
        for _ in range(options.repeats):
            for trainer in trainers:
                trainer.row.idle.append(trainer.measure())
                with beside(options.busy):
                    trainer.row.busy.append(trainer.measure())
            options.out.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--spins", nargs="+", type=int, default=[0, 1000, 300_000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/threads"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    if options.serve:
        overrides = [*options.overrides, f"trainer.threads={options.threads[0]}"]
        serve(parse(TrainConfig, compose(overrides)), options.steps, sys.stdin, sys.stdout)
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [Row(n, spins) for n in options.threads for spins in (options.spins if n > 1 else [None])]
    measure(rows, options)
    print(table(rows))
    print(f"-> {options.out.with_suffix('.json')}")


if __name__ == "__main__":
    main()
