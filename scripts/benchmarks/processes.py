"""What each process of a job holds and sends: bytes of what is divided, growth of its memory, bytes sent in a step.

usage: [torchrun --nproc-per-node=4] scripts/benchmarks/processes.py OUT [--labels 2812281] [--steps 4] [override ...]

Trains so many steps on synthetic documents, without dev and checkpoints, alone or under torchrun, and writes
OUT/processes-<how many>.json, what `scripts/scale_on_paper.py OUT` reads. divided: bytes of weights, connections,
biases, moments and gradients of the labels. grown: of resident memory, at its peak, since the data was loaded. sent: a
step, in the mean, without lengths and other small numbers' exchange where the step is logged. estimated: what
`xmc estimate devices=` has the formulas say, of what is divided and of what is sent.
"""

import argparse
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.config.compose import compose
from xmc.distributed import Processes, joined
from xmc.estimate import count, estimate
from xmc.job import place
from xmc.train.log import peak_resident_mib
from xmc.train.state import TrainState
from xmc.train.step import compute_gradients, share_gradients

MIB = 2**20
DIVIDED = "classifier: weights", "classifier: index", "classifier: optimizer state", "classifier: gradients"
SMALL = [
    *("data=synthetic", "recipe=none", "data.dev_fraction=0", "data.num_documents=4000", "data.num_words=20000"),
    *("encoder.width=64", "classifier.fan_in=32", "auxiliary=none", "lexical=none", "trainer.batch_size=128"),
    *("trainer.device=cpu", "trainer.threads=1"),
]


@dataclass(frozen=True)
class Measured:
    """Of each process, by rank; bytes."""

    labels: int
    processes: int
    overrides: list[str]
    divided: list[int]
    grown: list[int]
    sent: list[int]
    seconds: float
    estimated_divided: int
    estimated_sent: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=2_812_281)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    overrides = [*SMALL, f"data.num_labels={options.labels}", f"run={options.out}", *options.overrides]
    torch.set_num_threads(1)
    with joined(place()) as processes:
        measured = measure(parse(TrainConfig, compose(overrides, TrainConfig)), options.steps, processes, overrides)
        if processes.is_first:
            options.out.mkdir(parents=True, exist_ok=True)
            told = json.dumps(asdict(measured), indent=1)
            (options.out / f"processes-{processes.size}.json").write_text(told + "\n")
            print(told)


def measure(config: TrainConfig, steps: int, processes: Processes, overrides: list[str]) -> Measured:
    corpus = factory.load_corpus(config)
    before = resident()
    setup = factory.build_training(config, corpus, torch.device("cpu"), processes=processes)
    state, batches, sent, seconds = setup.state, iter(setup.batches.epoch(0)), 0, 0.0
    for _ in range(steps):
        batch, sent_before, begun = next(batches), processes.sent, time.perf_counter()
        compute_gradients(state.model, None, batch, auxiliary_weight=0.0, update=state.optimizers.in_place_update)
        share_gradients(state.model, processes)
        sent, seconds = sent + processes.sent - sent_before, seconds + time.perf_counter() - begun
        held = divided(state)  # from the second step on with moments
        state.optimizers.step()
    own = held, round(peak_resident_mib() * MIB) - before, sent // steps
    told = estimate(config, count(config, 5), processes.size)
    parts = [*told.always, *told.moments[0].parts]
    of_formula = sum(part.bytes for part in parts if part.name in DIVIDED)
    of_sent = sum(part.bytes for part in told.traffic)
    held_by, grown_by, sent_by = ([*numbers] for numbers in zip(*processes.all_of(*own), strict=True))
    figures = held_by, grown_by, sent_by, seconds / steps, of_formula, of_sent
    return Measured(len(corpus.label_ids), processes.size, overrides, *figures)


def resident() -> int:
    (line,) = (n for n in Path("/proc/self/status").read_text().splitlines() if n.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def divided(state: TrainState) -> int:
    """Bytes of what there is for each label."""
    own = state.model.classifier.own
    of_optimizer = (v for p in own.parameters() for o in state.optimizers.values() for v in o.state[p].values())
    gradients = (p.grad for p in own.parameters())
    tensors = [*own.state_dict().values(), *of_optimizer, *gradients]
    return sum(t.nbytes for t in tensors if isinstance(t, torch.Tensor) and t.dim())


if __name__ == "__main__":
    main()
