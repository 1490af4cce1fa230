"""A run pauses where its rung ends, with an evaluation, and where the budget does."""

import dataclasses

import pytest

from xmc.commands.tune.halving import Trial
from xmc.commands.tune.rung import SAVED_EVERY, Rung, evaluated_step
from xmc.train.loop import Plan
from xmc.train.state import Progress

PLAN = Plan(
    total_steps=100,
    warmup_steps=3,
    schedule="linear",
    auxiliary_weight=0.0,
    auxiliary_steps=0,
    micro_batch_size=None,
    clip_norm=None,
    log_every=10,
    eval_every=10,
    checkpoint_every=10,
    patience=None,
)
NEW = Trial(1, {}, 0, 100.0)


@pytest.mark.parametrize(
    ("total", "every", "ends"),
    [(100, 10, (30, 50, 100)), (95, 10, (30, 50, 95)), (7, 1, (2, 4, 7)), (10, 7, (7, 7, 10)), (5, 50, (5, 5, 5))],
)
def test_a_rung_ends_with_an_evaluation(total: int, every: int, ends: tuple[int, ...]) -> None:
    plan = dataclasses.replace(PLAN, total_steps=total, eval_every=every)
    assert tuple(evaluated_step(plan, fraction) for fraction in (0.25, 0.5, 1.0)) == ends


def first_pause(trial: Trial, start: int = 0) -> int:
    rung = Rung(trial, lambda: 1.0, lambda done, of: None)
    step = next(step for step in range(start, 101) if rung(Progress(step=step), PLAN) == "pause")
    assert rung.ended
    return step


def test_it_pauses_where_the_next_rung_ends() -> None:
    assert first_pause(NEW) == 30
    assert first_pause(dataclasses.replace(NEW, scores=(0.1,), seconds=(1.0,)), 30) == 50
    assert first_pause(dataclasses.replace(NEW, scores=(0.1,), seconds=(1.0,)), 50) == 50, "killed before it was told"
    assert first_pause(dataclasses.replace(NEW, scores=(0.1, 0.2), seconds=(1.0, 1.0)), 50) == 100
    assert first_pause(dataclasses.replace(NEW, repeats=0)) == 100


def test_it_pauses_where_the_budget_ends() -> None:
    left = 1.0
    rung = Rung(NEW, lambda: left, lambda done, of: None)
    assert rung(Progress(step=4), PLAN) == "go on"
    left = 0.0
    assert rung(Progress(step=5), PLAN) == "pause" and not rung.ended


def test_it_is_saved_and_looked_at_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = 0.0, []
    monkeypatch.setattr("xmc.commands.tune.rung.time.monotonic", lambda: now)
    rung = Rung(NEW, lambda: 1.0, lambda done, of: looks.append((done, of)))
    assert [rung(Progress(step=step), PLAN) for step in (0, 1)] == ["go on", "go on"] and looks == [(0, 30)]
    now = SAVED_EVERY + 1
    assert [rung(Progress(step=step), PLAN) for step in (2, 3)] == ["save", "go on"] and looks == [(0, 30), (2, 30)]


def test_a_rung_that_was_begun_before_counts_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("xmc.commands.tune.rung.time.monotonic", lambda: now)
    rung = Rung(NEW, lambda: 1.0, lambda done, of: None)
    now = 4.0  # of preparation, which is the same for a part
    rung(Progress(step=20), PLAN)
    now = 9.0
    assert rung(Progress(step=30), PLAN) == "pause"
    now = 11.0  # of figures on dev, likewise
    assert rung.seconds == pytest.approx(4 + 15 + 2)
