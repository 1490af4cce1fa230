"""Commands killed at a random moment: what they leave loads or is refused, and the next run makes it whole."""

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .outcome import TERMINATED, Outcome, Verdict, compared, judge, worst
from .process import Command, Ended, run
from .stage import Stage, contents, succeed

Arguments = list[object]
TERM_SHARE = 0.25  # of the kills that are SIGTERM, the others being SIGKILL
LISTENS = 0.1  # seconds from which on SIGTERM comes; an interpreter takes longer to start
TWICE_SHARE = 0.3  # of the runs that are killed once more when they are resumed


@dataclass(frozen=True)
class Killed:
    """A command to kill in a folder of its own.

    start: lays the folder out. again: how to go on, once it was killed. model: what it works on or makes, whose
    predictions are looked at.
    """

    start: Callable[[Path], object]
    arguments: Callable[[Path], Arguments]
    model: str | None = None
    again: Callable[[Path], Arguments] | None = None


@dataclass
class Reference:
    """What the command leaves undisturbed, what its model predicts before and after it, and how long it takes."""

    results: dict[str, bytes]
    predicted: list[dict[str, bytes]] = field(default_factory=list)
    seconds: float = 0.0


class Kills:
    """Each command in turn, by SIGKILL or SIGTERM, at a moment drawn from its own duration."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.commands = self._commands()
        self.references = {name: self._undisturbed(name) for name in self.commands}

    def __call__(self, number: int, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        name = list(self.commands)[number % len(self.commands)]
        killed, reference = self.commands[name], self.references[name]
        by = signal.SIGTERM if rng.random() < TERM_SHARE else signal.SIGKILL
        moment = rng.random()
        killed.start(folder)
        what = f"{name}, {by.name} at {moment:.0%}"
        return what, worst(self._verdicts(killed, reference, folder, by, moment * reference.seconds, rng))

    def _verdicts(
        self, killed: Killed, reference: Reference, folder: Path, by: int, moment: float, rng: random.Random
    ) -> Iterator[Verdict]:
        yield told(kill(killed.arguments(folder), by, moment), by)
        yield from self._looked_at(killed, reference, folder)
        if rng.random() < TWICE_SHARE:
            yield told(kill(self._way_on(killed, folder), by, rng.random() * reference.seconds), by)
            yield from self._looked_at(killed, reference, folder)
        if killed.model == "more" and (folder / "more").exists():  # it was done, and is wanted anew
            shutil.rmtree(folder / "more")
        yield gone_on(run(*self._way_on(killed, folder)))
        yield from self._looked_at(killed, reference, folder, finished=True)
        yield remains(folder, reference.results)

    def _looked_at(
        self, killed: Killed, reference: Reference, folder: Path, finished: bool = False
    ) -> Iterator[Verdict]:
        if killed.model is None or not (folder / killed.model).exists():
            return
        ended = self._predict(folder / killed.model)
        references = reference.predicted[-1:] if finished else reference.predicted
        yield judge(ended) or compared({"predictions": ended.stdout.encode()}, *references)
        if finished:
            yield gone_on(ended)

    @staticmethod
    def _way_on(killed: Killed, folder: Path) -> Arguments:
        if killed.again is not None and (folder / "run" / "config.yaml").exists():
            return killed.again(folder)
        return killed.arguments(folder)

    def _undisturbed(self, name: str) -> Reference:
        """Run the command twice: the second tells its time, and that it gives the same again."""
        killed, references = self.commands[name], []
        for place in ("first", "second"):
            folder = self.stage.folder / "undisturbed" / name / place
            folder.mkdir(parents=True)
            killed.start(folder)
            looked_at = killed.model is not None and (folder / killed.model).exists()
            before = [self._predictions(folder / str(killed.model))] if looked_at else []
            seconds = succeed(*killed.arguments(folder)).seconds
            after = [self._predictions(folder / killed.model)] if killed.model else []
            references.append(Reference(whole_results(folder), before + after, seconds))
        first, second = references
        if first.results != second.results:
            raise RuntimeError(f"{name}: {compared(first.results, second.results).note}, undisturbed")
        return second

    def _predict(self, model: Path) -> Ended:
        return run("predict", f"run={model}", f"input={self.stage.test}", "threads=1", "threshold=0.2")

    def _predictions(self, model: Path) -> dict[str, bytes]:
        return {"predictions": self._predict(model).stdout.encode()}

    def _commands(self) -> dict[str, Killed]:
        stage = self.stage
        data = ["data=jsonl", f"data.root={stage.data}"]

        def resumed(folder: Path) -> Arguments:
            return ["train", f"run={folder / 'run'}", "resume=true"]

        def copied(folder: Path) -> None:
            stage.copy(stage.whole, folder, cache=folder / "cache")

        def calibrated_otherwise(folder: Path) -> None:
            """With thresholds that the command to kill will replace by others."""
            copied(folder)
            succeed("calibrate", f"run={folder / 'run'}", "k=3", "threads=1")

        def given(command: str, *more: object) -> Callable[[Path], Arguments]:
            return lambda folder: [command, f"run={folder / 'run'}", "threads=1", *more]

        return {
            "prepare": Killed(_nothing, lambda folder: ["prepare", *data, f"data.cache_dir={folder / 'cache'}"]),
            "train": Killed(
                _nothing,
                lambda folder: ["train", *stage.training(folder / "run", folder / "cache")],
                "run/model",
                resumed,
            ),
            "finetune": Killed(
                _nothing,
                lambda folder: [
                    *("finetune", f"from={stage.whole}"),
                    *(o for o in stage.training(folder / "run", folder / "cache") if "fan_in" not in str(o)),
                ],
                "run/model",
                resumed,
            ),
            "evaluate": Killed(copied, given("evaluate"), "run"),
            "calibrate": Killed(
                calibrated_otherwise,
                given("calibrate", "per_label=true", "min_positives=2"),
                "run",
            ),
            "report": Killed(copied, given("report", "replicates=50"), "run"),
            "predict": Killed(
                copied,
                lambda folder: [*given("predict", f"input={stage.test}", f"output={folder / 'out.jsonl'}")(folder)],
            ),
            "add-labels": Killed(
                copied,
                lambda folder: [
                    *given("add-labels", f"input={stage.examples}", "steps=20", f"output={folder / 'more'}")(folder)
                ],
                "more",
            ),
        }


def _nothing(folder: Path) -> None:
    pass


def kill(arguments: Arguments, by: int, moment: float) -> Ended:
    """Start a command and send it the signal after so many seconds, if it still runs."""
    command = Command(*arguments)
    early = command.ends_within(max(moment, LISTENS) if by == signal.SIGTERM else moment)
    if not early:
        command.kill(by)
    return command.wait()


def told(ended: Ended, by: int) -> Verdict:
    """Whether it ended as it should: SIGKILL has no word; after SIGTERM, one line and 143."""
    if ended.code == -by:
        return Verdict(Outcome.READ if by == signal.SIGKILL else Outcome.WORDLESS, "died of SIGTERM without a word")
    if ended.code == TERMINATED and "interrupted" not in ended.stderr:
        return Verdict(Outcome.WORDLESS, ended.stderr[-300:])
    return judge(ended) or Verdict(Outcome.READ)


def gone_on(ended: Ended) -> Verdict:
    """Whether the command that was given after a kill succeeded."""
    wrong = judge(ended)
    if wrong is None:
        return Verdict(Outcome.READ)
    return Verdict(Outcome.DEAD_END, wrong.note) if wrong.outcome == Outcome.REFUSED else wrong


def remains(folder: Path, undisturbed: dict[str, bytes]) -> Verdict:
    """What lies in a folder at the end, beside what lies there undisturbed."""
    results = whole_results(folder)
    if left := sorted(results.keys() - undisturbed.keys()):
        return Verdict(Outcome.LEFTOVER, ", ".join(left))
    return compared(results, undisturbed)


def whole_results(folder: Path) -> dict[str, bytes]:
    """What a command left in a folder. Of caches, logs and checkpoints the names alone count."""
    results = {}
    for name, content in contents(folder).items():
        last = name.rpartition("/")[2]
        if "lock" in last and not content:  # the locks themselves stay
            continue
        hidden = any(part.startswith(".") or part.endswith((".tmp", ".incomplete")) for part in name.split("/"))
        if "run/checkpoints/" in name and not hidden:
            continue  # how many there are depends on where a run was stopped
        told_by_name = name.startswith("cache/") or "run/checkpoints/" in name or last in ("log.jsonl", "config.yaml")
        results[name] = b"" if told_by_name else content
    return results
