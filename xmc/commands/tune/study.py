"""The record of a study, an Optuna study in SQLite, and what it proposes next."""

import warnings
import zlib
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from xmc.commands.tune.halving import RUNGS, Trial
from xmc.commands.tune.space import Choice, Dimension, Range, Space, Value, Values
from xmc.types import XMCError

optuna.logging.set_verbosity(optuna.logging.WARNING)

NAME = "xmc"  # of the study in its file
_RANDOM = 5  # trials before TPE has seen enough, the recommended settings included


class Study:
    """Trials and the time they took. Each change is a transaction: whatever is killed, the record stays whole.

    Of Optuna's trials one that goes on or waits is RUNNING, one that was given up PRUNED, one that failed FAIL. `step`
    of an intermediate value counts rungs, from 1.
    """

    def __init__(self, path: Path) -> None:
        """Open the study, or begin one.

        Raises:
            XMCError: the file holds none that this version of Optuna can read.
        """
        try:
            self._storage = RDBStorage(URL.create("sqlite", database=str(path)).render_as_string())
            optuna.create_study(storage=self._storage, study_name=NAME, direction="maximize", load_if_exists=True)
            self._id = self._storage.get_study_id_from_name(NAME)
            self._complete()
        except (SQLAlchemyError, OptunaError, RuntimeError) as error:
            told = str(error).partition("\n")[0]
            raise XMCError(f"{path} is no study that can be read ({told:.100}); give another output=...") from None

    def recall(self, name: str) -> Any:
        """What was remembered under this name; None: nothing."""
        return self._storage.get_study_user_attrs(self._id).get(name)

    def remember(self, name: str, value: object) -> None:
        """Keep a value of JSON."""
        self._storage.set_study_user_attr(self._id, name, value)

    def trials(self) -> list[Trial]:
        return [_trial(frozen) for frozen in self._storage.get_all_trials(self._id, deepcopy=False)]

    def add(self, space: Space, values: Values, *, seed: int, work: float) -> Trial:
        """A new trial."""
        return self._add(space, values, {"seed": seed, "work": work, "values": dict(values)})

    def repeat(self, space: Space, trial: Trial, seed: int) -> Trial:
        """The same trial under another seed."""
        of_it = {"seed": seed, "work": trial.work, "values": dict(trial.values), "repeats": trial.number}
        return self._add(space, {}, of_it)

    def reached(self, trial: Trial, score: float, seconds: float, last: bool) -> None:
        """A trial has ended its next rung. last: it has ended its run, and so all rungs that it had before it."""
        key, rung = self._key(trial), len(trial.scores) + 1
        for ended in range(rung, (len(RUNGS) if last else rung) + 1):
            self._storage.set_trial_user_attr(key, f"seconds/{ended}", seconds if ended == rung else 0.0)
            self._storage.set_trial_intermediate_value(key, ended, score)
        if last:
            self._storage.set_trial_state_values(key, TrialState.COMPLETE, [score])

    def lose(self, trial: Trial, why: str) -> None:
        """A trial does not go on."""
        key = self._key(trial)
        self._storage.set_trial_user_attr(key, "lost", why)
        state = TrialState.PRUNED if trial.scores else TrialState.FAIL
        self._storage.set_trial_state_values(key, state, list(trial.scores[-1:]) or None)

    def propose(self, space: Space, seed: int, attempt: int) -> dict[str, Value]:
        """The next trial's values by TPE (Bergstra et al., NeurIPS 2011), from all trials before by what they are worth
        so far: a function of these, the seed and the attempt."""
        trials = [trial for trial in self.trials() if trial.repeats is None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            drawn = zlib.crc32(f"{seed} {len(trials)} {attempt}".encode())
            sampler = TPESampler(seed=drawn, n_startup_trials=_RANDOM, multivariate=True, group=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials([_as_seen(space, trial) for trial in trials if trial.scores or trial.lost])
        asked = study.ask()
        values: dict[str, Value] = {}
        for dimension in space.dimensions:
            if dimension.applies(values):
                values[dimension.key] = _suggested(asked, dimension)
        return values

    def _add(self, space: Space, values: Values, attributes: dict[str, Any]) -> Trial:
        template = create_trial(state=TrialState.RUNNING, **_parameters(space, values), user_attrs=attributes)
        return _trial(self._storage.get_trial(self._storage.create_new_trial(self._id, template)))

    def _complete(self) -> None:
        """What a killed session left undone of `reached`."""
        for frozen in self._storage.get_all_trials(self._id, states=(TrialState.RUNNING,)):
            if len(frozen.intermediate_values) == len(RUNGS):
                last = frozen.intermediate_values[len(RUNGS)]
                self._storage.set_trial_state_values(self._key(_trial(frozen)), TrialState.COMPLETE, [last])

    def _key(self, trial: Trial) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)


def _trial(frozen: FrozenTrial) -> Trial:
    scores = [frozen.intermediate_values[rung] for rung in sorted(frozen.intermediate_values)]
    of_it = {key: value for key, value in frozen.user_attrs.items() if not key.startswith("seconds/")}
    seconds = [frozen.user_attrs[f"seconds/{rung}"] for rung in range(1, len(scores) + 1)]
    return Trial(frozen.number, **of_it, scores=tuple(scores), seconds=tuple(seconds))


def _as_seen(space: Space, trial: Trial) -> FrozenTrial:
    """By the sampler: those that ran to their end before others, these by the rungs that they ended, failed last."""
    parameters = _parameters(space, trial.values)
    if trial.finished:
        return create_trial(state=TrialState.COMPLETE, value=trial.scores[-1], **parameters)
    reached = dict(enumerate((0.0, *trial.scores)))
    return create_trial(state=TrialState.PRUNED, intermediate_values=reached, **parameters)


def _parameters(space: Space, values: Values) -> dict[str, Any]:
    there = space.of(values)
    return {
        "params": {dimension.name: values[dimension.key] for dimension in there},
        "distributions": {dimension.name: _distribution(dimension.values) for dimension in there},
    }


def _distribution(values: Choice | Range) -> BaseDistribution:
    if isinstance(values, Choice):
        return CategoricalDistribution(values.options)
    return FloatDistribution(values.low, values.high, log=True)


def _suggested(asked: optuna.Trial, dimension: Dimension) -> Value:
    values = dimension.values
    if isinstance(values, Choice):
        chosen = asked.suggest_categorical(dimension.name, values.options)
        assert chosen is not None
        return chosen
    return float(f"{asked.suggest_float(dimension.name, values.low, values.high, log=True):.3g}")
