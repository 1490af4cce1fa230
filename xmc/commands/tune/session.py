"""A session of a study: what is tried next, the time that it takes, and what is told at the end."""

import functools
import gc
import logging
import shutil
import time
from collections.abc import Collection
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import torch

from xmc.commands.tune import TuneConfig
from xmc.commands.tune.adjustment import best_adjustment
from xmc.commands.tune.halves import Halves
from xmc.commands.tune.halving import (
    RUNGS,
    Trial,
    best_two,
    by_seed,
    last_chance,
    missing_repeats,
    new_seconds,
    promoted,
    repeated,
    surplus,
    whole_seconds,
    winner,
)
from xmc.commands.tune.outcome import Recipe, differences, table
from xmc.commands.tune.progress import Progress, trials_in_turn
from xmc.commands.tune.rung import Rung
from xmc.commands.tune.sizes import Sizes
from xmc.commands.tune.space import Space, Value, space_around
from xmc.commands.tune.study import Study
from xmc.config import TrainConfig, load_run_config, parse, run_config_path, to_yaml
from xmc.data.corpus import Corpus
from xmc.errors import XMCError
from xmc.run_report import flat
from xmc.storage import read_json, whole_file
from xmc.train.step import Diverged
from xmc.values import LARGEST
from xmc.workflow.run_folder import is_finished
from xmc.workflow.training import train_run

logger = logging.getLogger(__name__)

ATTEMPTS = 20  # to propose what was not tried before and fits the memory and the time
_OF_THE_STUDY = {
    "run",
    "resume",
    "tracking",
    "data",
    *(TuneConfig.model_fields.keys() - TrainConfig.model_fields.keys()),
}
"""Keys that no trial's result depends on; the data is known by its content."""


class Session:
    """A study is begun, or gone on with, until its budget is spent.

    fixed: the keys that the user has given. began: when, by the monotonic clock.
    """

    def __init__(self, config: TuneConfig, fixed: Collection[str], corpus: Corpus, began: float) -> None:
        self.config, self.corpus = config, corpus
        self.fixed = [key for key in fixed if key not in _OF_THE_STUDY and not key.startswith("data")]
        self.output = Path(config.output)
        self.study = Study(self.output / "study.db")
        self._check_identity()
        self._began = began - (self.study.recall("spent") or 0.0)
        self._halves = Halves(self.output / "lexical", self.study, corpus, config.seed)
        self._sizes = Sizes(config)
        self._progress = Progress(config.trainer.metric)

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.config.seconds - (time.monotonic() - self._began)

    def run(self) -> None:
        with trials_in_turn():
            with self._progress.shown():
                self._recommended()
                while (trial := self._next() or self._next_repeat()) is not None:
                    self._climb(trial)
            self._tell()

    def _note_time(self) -> None:
        self.study.remember("spent", time.monotonic() - self._began)

    def _check_identity(self) -> None:
        """Raise XMCError where the folder holds a study of other data or settings."""
        of_the_run = self.config.model_dump(mode="json", include=set(TrainConfig.model_fields), exclude=_OF_THE_STUDY)
        now = {"settings": flat(of_the_run), "fixed": sorted(self.fixed), "data": self.corpus.fingerprint}
        then = self.study.recall("identity")
        if not then or not (self.study.trials() or any(self._folder(0).glob("checkpoints/step-*"))):
            if then:  # of a study that has learned nothing yet
                shutil.rmtree(self._folder(0), ignore_errors=True)
            self.study.remember("identity", now)
            return
        if then["data"] != now["data"]:
            raise XMCError(
                f"{self.output} holds a study of other data than {self.corpus.name}; give another output=..."
            )
        old, new = then["settings"], flat(of_the_run)
        wrong = [f"{key}: {old[key]!r}, now {new[key]!r}" for key in new if key in old and old[key] != new[key]]
        wrong += [f"{key}: given before or now alone" for key in sorted({*then["fixed"]} ^ {*now["fixed"]})]
        if wrong:
            raise XMCError(
                f"{self.output} holds a study of other settings ({'; '.join(wrong)}); give the command as it was, or "
                "another output=..."
            )

    def _recommended(self) -> None:
        """The first trial, what `xmc train` would do, to its end; the space lies around what it chose."""
        if not self.study.trials():
            own = parse(TrainConfig, self.config.model_dump(include=set(TrainConfig.model_fields)))
            self._sizes.check(own)
            first = Trial(0, {}, own.seed, work=0.0)
            outcome = self._rung(first, self._of_trial(first, own))
            values, work = self.space.recommended, self._work(self.space.base)
            self._record(self.study.add(self.space, values, seed=own.seed, work=work), outcome)
        while (first := self.study.trials()[0]).waits and self.left > (first.next_seconds if first.scores else 0.0):
            self._climb(first)

    @functools.cached_property
    def space(self) -> Space:
        """Around the settings that the first trial began with, wherever they came from."""
        chosen, own = load_run_config(self._folder(0)), self.config
        kept = {"keep_last": own.trainer.keep_last, "checkpoint_every": own.trainer.checkpoint_every}
        trainer = chosen.trainer.model_copy(update=kept)
        return space_around(
            chosen.model_copy(update={"run": own.run, "data": own.data, "trainer": trainer}), self.fixed
        )

    def _next(self) -> Trial | None:
        """The trial to go on with: one that has not ended its first rung, one that has earned its next, a new one, or
        where there is no time for that the best that waits; None where none would end in time."""
        trials = self.study.trials()
        left = self.left - self._reserve(trials)
        if not trials[0].finished and not trials[0].lost:
            return None
        begun = next((t for t in trials if t.waits and not t.scores and t.repeats is None), None)
        if begun is not None and RUNGS[0] * new_seconds(trials, begun.work) <= left:
            return begun
        return promoted(trials, left) or self._new(trials, left) or last_chance(trials, left)

    def _reserve(self, trials: list[Trial]) -> float:
        """Seconds for the best two under other seeds, for as many seeds as half of the budget is enough for."""
        if len(best_two(trials)) < 2:
            return 0.0
        reserve = 0.0
        for _, of_seed in groupby(missing_repeats(trials, self.config.seed), key=itemgetter(1)):
            seconds = sum(whole_seconds(trial) for trial, _ in of_seed)
            if reserve + seconds <= self.config.seconds / 2:
                reserve += seconds
        return reserve

    def _next_repeat(self) -> Trial | None:
        trials = self.study.trials()
        if len(best_two(trials)) < 2:
            return None
        for trial, seed in missing_repeats(trials, self.config.seed):
            if whole_seconds(trial) > self.left:
                return None
            begun = [t for t in trials if t.repeats == trial.number and t.seed == seed]
            return begun[0] if begun else self.study.repeat(self.space, trial, seed)
        return None

    def _new(self, trials: list[Trial], left: float) -> Trial | None:
        searched = [trial for trial in trials if trial.repeats is None]
        if left <= 0 or len(searched) >= (self.config.trials or LARGEST):
            return None
        for attempt in range(ATTEMPTS):
            values = self.study.propose(self.space, self.config.seed, attempt)
            if any(trial.values == values for trial in searched):
                continue
            try:
                proposed = self.space.config(values)
                work = self._work(proposed)
                if self._halves.seconds(proposed) + new_seconds(trials, work) > left:
                    continue
                self._sizes.check(proposed)
            except XMCError as error:
                logger.info("not tried: %s: %s", differences(values, self.space.recommended), error)
                continue
            return self.study.add(self.space, values, seed=self.config.seed, work=work)
        return None

    def _work(self, config: TrainConfig) -> float:
        """Documents that a run sees, each as often as it does."""
        steps, documents = config.trainer.max_steps, len(self.corpus.split("train"))
        return steps * config.trainer.batch_size if steps else config.trainer.epochs * documents

    def _folder(self, number: int) -> Path:
        return self.output / "trials" / f"{number:04d}"

    def _of_trial(self, trial: Trial, config: TrainConfig) -> TrainConfig:
        """The configuration of a trial's run, or of the rest of it."""
        folder = self._folder(trial.number)
        if run_config_path(folder).exists():
            begun = load_run_config(folder)
            return begun.model_copy(update={"run": str(folder), "resume": True, "data": self.config.data})
        often = config.trainer.checkpoint_every or LARGEST
        trainer = config.trainer.model_copy(update={"keep_last": 1, "checkpoint_every": often})
        return config.model_copy(update={"run": str(folder), "seed": trial.seed, "trainer": trainer})

    def _climb(self, trial: Trial) -> None:
        """The next rung of a trial, and what follows from it."""
        self._record(trial, self._rung(trial, self._of_trial(trial, self.space.config(trial.values))))

    def _rung(self, trial: Trial, config: TrainConfig) -> Rung | str:
        """Run a trial to the end of its next rung, or of the budget; a text tells why it failed."""
        try:
            half = self._halves.of(config)
            rung = Rung(trial, lambda: self.left, functools.partial(self._look, trial))
            train_run(config, to_yaml(config), rung, half)
        except (Diverged, MemoryError, torch.OutOfMemoryError) as error:
            return f"failed: {str(error).partition(';')[0]}"
        finally:
            gc.collect()
            self._note_time()
        return rung

    def _record(self, trial: Trial, outcome: Rung | str) -> None:
        logging.getLogger("xmc").setLevel(logging.ERROR)  # the first trial's warnings would be those of all
        folder, metric = self._folder(trial.number), self.config.trainer.metric
        if isinstance(outcome, str):
            self.study.lose(trial, outcome)
            logger.info("trial %d %s", trial.number, outcome)
        elif outcome.ended or is_finished(folder):
            last = is_finished(folder)
            score = float(read_json(folder / "metrics-dev.json")["metrics"][metric])
            self.study.reached(trial, score, outcome.seconds, last)
            trials = self.study.trials()
            self._progress.ended(trial, trials, score, last, self.left, self.space.recommended)
        self._tidy()

    def _tidy(self) -> None:
        """Give up what waits behind better trials, and leave no more on disk than goes on or may be asked for."""
        for trial in surplus(self.study.trials()):
            self.study.lose(trial, "given up")
        trials = self.study.trials()
        may_win = [*best_two(trials), *repeated(trials)]
        for trial in trials:
            if not trial.waits:
                shutil.rmtree(self._folder(trial.number) / "checkpoints", ignore_errors=True)
            if trial.finished and trial not in may_win:
                shutil.rmtree(self._folder(trial.number) / "model", ignore_errors=True)

    def _look(self, trial: Trial, done: int, total: int) -> None:
        """Note the time spent, and show it."""
        self._note_time()
        self._progress.of_rung(trial, self.study.trials(), done, total, self.left)

    def _adjusted(self, best: Trial) -> dict[str, Value]:
        """The logit adjustment that the best model wants, if it pays: one needs no training to try it."""
        key, own = "trainer.logit_adjustment", self.space.base
        if key in self.fixed or own.loss != "bce":
            return {}
        if (known := self.study.recall(f"adjustment of {best.number}")) is None:
            trained = load_run_config(folder := self._folder(best.number))
            half = self._halves.of(trained)
            known = best_adjustment(trained, folder, self.corpus, half, best.scores[-1], lambda: self.left)
            self.study.remember(f"adjustment of {best.number}", known)
        return {} if known is None or known == own.trainer.logit_adjustment else {key: known}

    def _tell(self) -> None:
        trials, metric = self.study.trials(), self.config.trainer.metric
        if trials:
            print(table(trials, self.space.recommended, metric))
        if (best := winner(trials)) is None:
            raise XMCError("the budget ended before any trial did; the same command with a larger budget=... goes on")
        scores = by_seed(trials, best)
        values = dict(best.values) | self._adjusted(best)
        recipe = Recipe(self.space.config(values))
        mean = 100 * sum(scores.values()) / len(scores)
        told = f"dev {metric} {mean:.2f}, mean of {len(scores)} seed{'s' if len(scores) > 1 else ''}"
        path = self.output / "best.yaml"
        with whole_file(path) as out:
            out.write(recipe.experiment(f"Found by xmc tune in {self.corpus.name}: {told}."))
        print(
            f"\nbest: trial {best.number}, {differences(values, self.space.recommended)}: {told}",
            f"its model: {self._folder(best.number)}, a run of xmc train",
            f"its settings: {path}; copied into conf/experiment it is one of the experiments",
            f"train it anew: {recipe.command(self.config.run)}",
            sep="\n",
        )
