"""The record of a study: whole, read back as it was, and proposing the same from the same."""

import sqlite3
from pathlib import Path

import pytest

from xmc.commands.tune.space import Space, space_around
from xmc.config import TrainConfig, parse
from xmc.config.compose import compose
from xmc.errors import XMCError

pytest.importorskip("optuna")

import optuna

from xmc.commands.tune.study import NAME, Study


@pytest.fixture
def space() -> Space:
    return space_around(parse(TrainConfig, compose([])), [])


def test_what_was_written_is_read_back(tmp_path: Path, space: Space) -> None:
    path = tmp_path / "a study? 100%#.db"
    study = Study(path)
    study.remember("identity", {"data": "abc", "settings": {"a": "1"}})
    study.remember("spent", 12.5)
    first = study.add(space, space.recommended, seed=3, work=100.0)
    study.reached(first, 0.5, 7.0, last=False)
    (first,) = study.trials()
    study.reached(first, 0.6, 8.0, last=True)
    again = study.repeat(space, first, 4)
    other = study.add(space, {**space.recommended, "encoder.dropout": 0.1}, seed=3, work=50.0)
    study.lose(other, "failed: the loss is nan")
    assert path.is_file()
    read = Study(path)
    assert read.recall("identity") == {"data": "abc", "settings": {"a": "1"}} and read.recall("spent") == 12.5
    assert read.recall("other") is None
    trials = read.trials()
    assert [t.number for t in trials] == [0, 1, 2] == [first.number, again.number, other.number]
    assert trials[0].scores == (0.5, 0.6, 0.6) and trials[0].seconds == (7.0, 8.0, 0.0) and trials[0].finished
    assert trials[0].values == space.recommended and (trials[0].seed, trials[0].work) == (3, 100.0)
    assert (trials[1].repeats, trials[1].seed, trials[1].waits) == (0, 4, True)
    assert trials[2].lost == "failed: the loss is nan" and not trials[2].waits


def test_optuna_sees_what_it_knows(tmp_path: Path, space: Space) -> None:
    study = Study(tmp_path / "study.db")
    for scores in ((0.5, 0.6, 0.7), (0.4,), ()):
        trial = study.add(space, space.recommended, seed=0, work=1.0)
        for score in scores:
            study.reached(study.trials()[trial.number], score, 1.0, last=score == 0.7)
        if len(scores) < 3:
            study.lose(study.trials()[trial.number], "given up")
    seen = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [t.state.name for t in seen.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert seen.best_value == 0.7 and seen.trials[1].value == 0.4
    assert seen.trials[0].params["encoder.width"] == 1024


def test_a_run_that_ended_as_the_session_was_killed_is_complete(tmp_path: Path, space: Space) -> None:
    study = Study(tmp_path / "study.db")
    trial = study.add(space, space.recommended, seed=0, work=1.0)
    study.reached(trial, 0.5, 1.0, last=True)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("UPDATE trials SET state = 'RUNNING'")
        database.execute("DELETE FROM trial_values")
    assert Study(tmp_path / "study.db").trials()[0].finished
    seen = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert seen.trials[0].state.name == "COMPLETE"


def test_proposals_are_a_function_of_what_is_known(tmp_path: Path, space: Space) -> None:
    proposed = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        study = Study(tmp_path / folder / "study.db")
        trial = study.add(space, space.recommended, seed=0, work=1.0)
        for _ in range(8):
            study.reached(trial, 0.5 + trial.number / 100, 1.0, last=trial.number % 2 == 0)
            trial = study.add(space, study.propose(space, 0, 0), seed=0, work=1.0)
        proposed.append([t.values for t in study.trials()])
        assert study.propose(space, 0, 0) != study.propose(space, 0, 1)
    assert proposed[0] == proposed[1]
    for values in proposed[0]:
        assert parse(TrainConfig, space.config(values).model_dump())
        assert {d.key for d in space.of(values)} == values.keys()


def test_tpe_finds_what_is_good(tmp_path: Path, space: Space) -> None:
    """Of 20 trials scored by their dropout and their optimizer alone, the later ones are better than the first."""
    study = Study(tmp_path / "study.db")
    scores = []
    for _ in range(20):
        trial = study.add(space, study.propose(space, 0, 0), seed=0, work=1.0)
        dropout, kind = trial.values["encoder.dropout"], trial.values["classifier.optimizer.kind"]
        scores.append((1 - float(dropout)) * (1.0 if kind == "sgd" else 0.5))
        study.reached(trial, scores[-1], 1.0, last=True)
    assert sum(scores[-5:]) > sum(scores[:5]) + 0.5


@pytest.mark.parametrize("content", [b"no database at all, but text " * 50, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_holds_none_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(content)
    with pytest.raises(XMCError, match=r"study.db is no study that can be read .*; give another output=") as error:
        Study(path)
    assert "\n" not in str(error.value)
