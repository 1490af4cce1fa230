"""Commands started at once on one folder: one wins and the others say who holds it, or all succeed with one result."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .kills import remains, whole_results
from .outcome import Outcome, Verdict, judge
from .process import Command, Ended
from .stage import Stage, succeed

Arguments = list[object]
SPREAD = 0.3  # seconds within which all start
HOLDS = ("is in use by", "already holds a run", "exists already")


@dataclass(frozen=True)
class Shared:
    """Commands on one folder. start: lays it out. arguments: of the n-th process. wins: how many must succeed, at least
    and at most; None: all. own: each process makes a folder of its own."""

    start: Callable[[Path], object]
    arguments: Callable[[Path, int], Arguments]
    wins: tuple[int, int] | None = None
    own: bool = False


class Concurrent:
    """Each pair of commands in turn, by 2 to 4 processes at random offsets."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.shared = self._shared()
        self.alone: dict[tuple[str, int], dict[str, bytes]] = {}
        for name, shared in self.shared.items():
            folder = stage.folder / "alone" / name.replace(" ", "-")
            folder.mkdir(parents=True)
            shared.start(folder)
            for processes in range(1, 5):
                if processes == 1 or shared.own:
                    succeed(*shared.arguments(folder, processes - 1))
                self.alone[name, processes] = whole_results(folder)

    def __call__(self, number: int, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        name = list(self.shared)[number % len(self.shared)]
        shared, processes = self.shared[name], rng.choice([2, 2, 3, 4])
        offsets = sorted([0.0, *(rng.uniform(0, SPREAD) for _ in range(processes - 1))])
        shared.start(folder)
        what = f"{name}, {processes} at {', '.join(f'{offset:.2f}' for offset in offsets)} s"
        began, running = time.monotonic(), []
        for n, offset in enumerate(offsets):
            time.sleep(max(0.0, began + offset - time.monotonic()))
            running.append(Command(*shared.arguments(folder, n)))
        ended = [command.wait() for command in running]
        wrong = judged(ended, shared.wins)
        return what, wrong or remains(folder, self.alone[name, processes])

    def _shared(self) -> dict[str, Shared]:
        stage = self.stage
        prepare = ["prepare", "data=jsonl", f"data.root={stage.data}"]

        def nothing(folder: Path) -> None:
            pass

        def copied(folder: Path) -> None:
            stage.copy(stage.whole, folder, cache=folder / "cache")

        return {
            "train into one run": Shared(
                nothing, lambda folder, n: ["train", *stage.training(folder / "run", folder / "cache")], (1, 1)
            ),
            "prepare into one cache": Shared(
                nothing, lambda folder, n: [*prepare, f"data.cache_dir={folder / 'cache'}"]
            ),
            "train with one cache": Shared(
                nothing,
                lambda folder, n: ["train", *stage.training(folder / f"run{n}" / "run", folder / "cache")],
                own=True,
            ),
            "resume one run": Shared(
                lambda folder: stage.copy(stage.cut, folder, cache=folder / "cache"),
                lambda folder, n: ["train", f"run={folder / 'run'}", "resume=true"],
                (1, 4),  # one that comes last finds it finished
            ),
            "evaluate one run": Shared(copied, lambda folder, n: ["evaluate", f"run={folder / 'run'}", "threads=1"]),
            "calibrate one run": Shared(
                copied, lambda folder, n: ["calibrate", f"run={folder / 'run'}", "threads=1"], (1, 4)
            ),
            "predict into one file": Shared(
                copied,
                lambda folder, n: [
                    *("predict", f"run={folder / 'run'}", f"input={stage.test}", "threads=1"),
                    f"output={folder / 'out.jsonl'}",
                ],
            ),
            "add labels into one folder": Shared(
                copied,
                lambda folder, n: [
                    *("add-labels", f"run={folder / 'run'}", f"input={stage.examples}", "steps=20", "threads=1"),
                    f"output={folder / 'more'}",
                ],
                (1, 1),
            ),
        }


def judged(ended: list[Ended], wins: tuple[int, int] | None) -> Verdict | None:
    verdicts = [verdict for verdict in map(judge, ended) if verdict is not None]
    for verdict in verdicts:
        if not verdict.sound:
            return verdict
        if wins is None or not any(word in verdict.note for word in HOLDS):
            return Verdict(Outcome.DEAD_END, f"one of {len(ended)} failed: {verdict.note}")
    least, most = wins or (len(ended), len(ended))
    won = len(ended) - len(verdicts)
    if not least <= won <= most:
        return Verdict(Outcome.DIFFERENT, f"{won} of {len(ended)} succeeded, expected {least} to {most}")
    return None
