"""Attack xmc, a trial at a time, and count what came of it.

usage: python -m scripts.soundness [--kind KIND ...] [--trials N] [--seed 0] [--only NUMBER] [--jobs 2] [--json OUT]

Run in the root of the checkout; PYTHONPATH may name another checkout, whose xmc is attacked instead. A trial depends on
the seed, the kind and its number alone, so `--only` repeats one; it then keeps the trial's folder and says where it is.
Exit status: 0 where every trial was sound, else 1.
"""

import argparse
import json
import os
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from .concurrent import Concurrent
from .flips import Flips
from .inputs import Inputs
from .kills import Kills
from .models import Models
from .outcome import Outcome, Trial, Verdict
from .process import warm_up
from .stage import Stage

Attack = Callable[[int, random.Random, Path], tuple[str, Verdict]]
KINDS: dict[str, tuple[Callable[[Stage], Attack], int]] = {
    "kills": (Kills, 120),
    "flips": (Flips, 240),
    "inputs": (Inputs, 400),
    "models": (Models, 240),
    "concurrent": (Concurrent, 104),
}


def main() -> None:
    """Run the campaign; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--kind", choices=KINDS, action="append", help="all, if not given")
    parser.add_argument("--trials", type=int, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of the one trial to run")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warm_up()
    place = Path(tempfile.mkdtemp(prefix="soundness-"))
    trials: list[Trial] = []
    started = time.monotonic()
    try:
        stage = Stage(place / "stage")
        for kind in options.kind or KINDS:
            make, usual = KINDS[kind]
            numbers = range(usual if options.trials is None else options.trials)
            chosen = numbers if options.only is None else [options.only]
            for trial in campaign(
                kind, make(stage), chosen, options.seed, place, options.jobs, options.only is not None
            ):
                trials.append(trial)
                show(trial, len(chosen))
                if options.json:
                    write(options.json, trials, options.seed, time.monotonic() - started)
    finally:
        if options.only is None:
            shutil.rmtree(place, ignore_errors=True)
        else:
            print(f"kept: {place}", file=sys.stderr)
    print(table(trials))
    sys.exit(not all(trial.outcome.sound for trial in trials))


def campaign(
    kind: str, attack: Attack, numbers: Iterable[int], seed: int, place: Path, jobs: int, keep: bool
) -> Iterator[Trial]:
    """The trials of these numbers, by several processes, as they end."""
    waiting = list(numbers)
    readers: list[IO[str]] = []
    for job in range(jobs):
        reader, writer = os.pipe()
        if os.fork() == 0:
            with open(writer, "w") as out:
                for number in waiting[job::jobs]:
                    json.dump(one(kind, attack, number, seed, place, keep).to_dict(), out)
                    out.write("\n")
                    out.flush()
            os._exit(0)
        os.close(writer)
        readers.append(os.fdopen(reader))
    yield from map(_trial, _lines(readers))
    for _ in range(jobs):
        os.wait()


def one(kind: str, attack: Attack, number: int, seed: int, place: Path, keep: bool = False) -> Trial:
    """One trial, in a folder of its own. A fault of the campaign itself is told as such and is not sound."""
    folder = place / f"{kind}-{number}"
    folder.mkdir()
    try:
        what, verdict = attack(number, random.Random(f"{seed} {kind} {number}"), folder)
        return Trial(kind, number, what, verdict.outcome, "" if verdict.outcome == Outcome.IDENTICAL else verdict.note)
    except Exception as error:
        return Trial(kind, number, "the campaign itself", Outcome.UNCLEAR, f"{type(error).__name__}: {error}")
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _trial(line: str) -> Trial:
    values = json.loads(line)
    return Trial(**values | {"outcome": Outcome(values["outcome"])})


def _lines(readers: list[IO[str]]) -> Iterator[str]:
    """Lines of any of them, as they come; each ends by closing."""
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader, selectors.EVENT_READ, reader)
        while selector.get_map():
            for key, _ in selector.select():
                if line := key.data.readline():
                    yield line
                else:
                    selector.unregister(key.fileobj)
                    key.data.close()


def show(trial: Trial, of: int) -> None:
    mark = " " if trial.outcome.sound else "!"
    print(f"{mark} {trial.kind} {trial.number + 1}/{of}  {trial.outcome}  {trial.what}", flush=True)
    if not trial.outcome.sound:
        print("    " + trial.note.strip().replace("\n", "\n    "), flush=True)


def table(trials: list[Trial]) -> str:
    """A row a kind, a column an outcome that came."""
    counts = Counter((trial.kind, trial.outcome) for trial in trials)
    outcomes = [outcome for outcome in Outcome if any(counts[kind, outcome] for kind in KINDS)]
    rows = [["kind", "trials", *outcomes], ["---"] * (len(outcomes) + 2)]
    for kind in dict.fromkeys(trial.kind for trial in trials):
        own = [counts[kind, outcome] for outcome in outcomes]
        rows.append([kind, str(sum(own)), *map(str, own)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def write(path: Path, trials: list[Trial], seed: int, seconds: float) -> None:
    import xmc

    checkout = Path(xmc.__file__).parents[1]
    commit = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    told = {"commit": commit.strip(), "seed": seed, "seconds": round(seconds), "trials": [t.to_dict() for t in trials]}
    path.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
