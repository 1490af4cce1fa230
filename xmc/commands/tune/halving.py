"""Which trial goes on, by successive halving without waiting (ASHA, Li et al., MLSys 2020), and what it would take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median

from xmc.commands.tune.space import Values

RUNGS = (0.25, 0.5, 1.0)
"""Fractions of a trial's own steps. It ends a rung with the first evaluation there or behind."""
SEEDS = 2  # others than the first, under which the best two are trained again
WAITING = 3  # trials that wait at a rung with their checkpoints; the worse are given up
_MARGIN = 1.1  # over the measured time


@dataclass(frozen=True)
class Trial:
    """values: of what is searched. work: documents that the whole run sees, each as often as it does. repeats: the
    trial whose values these are, under another seed. scores, seconds: of each rung that it ended, wall time from the
    one before. lost: why it does not go on.
    """

    number: int
    values: Values
    seed: int
    work: float
    repeats: int | None = None
    scores: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    lost: str | None = None

    @property
    def finished(self) -> bool:
        return len(self.scores) == len(RUNGS)

    @property
    def waits(self) -> bool:
        return not self.finished and self.lost is None

    @property
    def rate(self) -> float:
        """Measured seconds a document."""
        return sum(self.seconds) / (RUNGS[len(self.scores) - 1] * self.work)

    @property
    def next_seconds(self) -> float:
        """What its next rung would take, as the ones before did."""
        done = len(self.scores)
        return _MARGIN * self.rate * self.work * (RUNGS[done] - RUNGS[done - 1])


def new_seconds(trials: Sequence[Trial], work: float) -> float:
    """What all rungs of a new trial of so much work would take, at the median rate so far; 0 where there is none."""
    rates = [trial.rate for trial in trials if trial.scores]
    return _MARGIN * work * median(rates) if rates else 0.0


def promoted(trials: Sequence[Trial], left: float) -> Trial | None:
    """The trial that has earned its next rung, and can end it in the seconds left: the best that waits among the better
    half of those that came so far, later rungs first."""
    for rung in reversed(range(1, len(RUNGS))):
        reached = [trial for trial in _searched(trials) if len(trial.scores) >= rung]
        best = sorted(reached, key=lambda trial: (-trial.scores[rung - 1], trial.number))[: len(reached) // 2]
        for trial in best:
            if trial.waits and len(trial.scores) == rung and trial.next_seconds <= left:
                return trial
    return None


def waiting(trials: Sequence[Trial], rung: int) -> list[Trial]:
    """Those that have ended so many rungs and wait, best first."""
    found = [trial for trial in _searched(trials) if trial.waits and len(trial.scores) == rung]
    return sorted(found, key=lambda trial: (-trial.scores[-1], trial.number))


def last_chance(trials: Sequence[Trial], left: float) -> Trial | None:
    """Where there is no time for a new trial, the best that waits and can still end a rung."""
    for rung in reversed(range(1, len(RUNGS))):
        for trial in waiting(trials, rung):
            if trial.next_seconds <= left:
                return trial
    return None


def surplus(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that wait behind too many better ones."""
    return [trial for rung in range(1, len(RUNGS)) for trial in waiting(trials, rung)[WAITING:]]


def best_two(trials: Sequence[Trial]) -> list[Trial]:
    """Of those that ran to their end."""
    finished = [trial for trial in _searched(trials) if trial.finished]
    return sorted(finished, key=lambda trial: (-trial.scores[-1], trial.number))[:2]


def missing_repeats(trials: Sequence[Trial], seed: int) -> list[tuple[Trial, int]]:
    """The best two with the seeds under which they have not been trained to their end, seed by seed."""
    done = {(trial.repeats, trial.seed) for trial in trials if trial.finished or trial.lost}
    two = best_two(trials)
    return [(t, seed + i) for i in range(1, SEEDS + 1) for t in two if (t.number, seed + i) not in done]


def whole_seconds(trial: Trial) -> float:
    """What a finished trial's repetition takes."""
    return _MARGIN * sum(trial.seconds)


def by_seed(trials: Sequence[Trial], trial: Trial) -> dict[int, float]:
    """The scores of a trial and of its repetitions that ran to their end."""
    same = [trial, *(t for t in trials if t.repeats == trial.number)]
    return {t.seed: t.scores[-1] for t in same if t.finished}


def winner(trials: Sequence[Trial]) -> Trial | None:
    """Of those that were trained under other seeds too that of the highest mean, over the seeds that all of them have;
    of the best two where there are no two such."""
    tried = repeated(trials)
    scores = [(trial, by_seed(trials, trial)) for trial in (tried if len(tried) > 1 else best_two(trials))]
    if not scores:
        return None
    common = sorted(set.intersection(*(set(own) for _, own in scores)))
    return max(scores, key=lambda scored: mean(scored[1][seed] for seed in common))[0]


def repeated(trials: Sequence[Trial]) -> list[Trial]:
    """Those that ran to their end under more than one seed, best under the first of them first."""
    tried = [trial for trial in _searched(trials) if trial.finished and len(by_seed(trials, trial)) > 1]
    return sorted(tried, key=lambda trial: (-trial.scores[-1], trial.number))


def _searched(trials: Iterable[Trial]) -> list[Trial]:
    """Those that repeat no other."""
    return [trial for trial in trials if trial.repeats is None]
