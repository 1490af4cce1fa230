"""Which trial goes on, what it would take, and which is the best."""

import dataclasses

import pytest

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

AMPLE = 1e9


def trial(number: int, *scores: float, seconds: float = 10.0, **more: object) -> Trial:
    return Trial(number, {}, 0, 100.0, scores=scores, seconds=(seconds,) * len(scores), **more)  # type: ignore[arg-type]


def test_the_better_half_of_a_rung_goes_on() -> None:
    trials = [trial(0, 0.5, 0.6, 0.7), trial(1, 0.6)]
    assert promoted(trials, AMPLE) == trials[1]
    assert promoted([trials[0], trial(1, 0.4)], AMPLE) is None, "the better half went on before"
    trials = [trial(0, 0.5, 0.6, 0.7), trial(1, 0.4), trial(2, 0.3), trial(3, 0.45)]
    assert promoted(trials, AMPLE) == trials[3]


def test_later_rungs_come_first() -> None:
    trials = [trial(0, 0.5, 0.6, 0.7), trial(1, 0.6, 0.8), trial(2, 0.9), trial(3, 0.1)]
    assert promoted(trials, AMPLE) == trials[1]


def test_what_is_lost_or_repeats_another_does_not_go_on() -> None:
    trials = [trial(0, 0.5, 0.6, 0.7), trial(1, 0.6, lost="given up"), trial(2, 0.9, repeats=0)]
    assert promoted(trials, AMPLE) is None and last_chance(trials, AMPLE) is None


def test_no_rung_begins_that_would_not_end_in_time() -> None:
    """A rung from a quarter to half takes what the first quarter took, and a tenth more."""
    trials = [trial(0, 0.5, 0.6, 0.7), trial(1, 0.6)]
    assert trials[1].next_seconds == pytest.approx(11.0)
    assert promoted(trials, 11.1) == trials[1] and promoted(trials, 10.9) is None
    slow = trial(2, 0.9, seconds=40.0)
    assert promoted([*trials, slow, trial(3, 0.1)], 20.0) == trials[1], "the next best that can"


def test_a_new_trial_takes_what_others_did() -> None:
    assert new_seconds([], 100.0) == 0
    rates = [trial(0, 0.5, seconds=10.0), trial(1, 0.5, seconds=30.0), trial(2, 0.5, seconds=90.0), trial(3)]
    assert new_seconds(rates, 200.0) == pytest.approx(264.0)


def test_where_no_new_one_fits_the_best_that_waits_goes_on() -> None:
    trials = [trial(0, 0.5, 0.6, 0.7), trial(1, 0.4), trial(2, 0.45, seconds=99.0)]
    assert last_chance(trials, AMPLE) == trials[2]
    assert last_chance(trials, 20.0) == trials[1]
    assert last_chance(trials, 5.0) is None


def test_few_wait_with_their_checkpoints() -> None:
    trials = [trial(n, 0.1 * n) for n in range(6)] + [trial(9, 0.1, 0.2)]
    assert [t.number for t in surplus(trials)] == [2, 1, 0]


def test_the_best_two_are_repeated_seed_by_seed() -> None:
    trials = [trial(0, 0.1, 0.2, 0.3), trial(1, 0.1, 0.2, 0.5), trial(2, 0.1, 0.2, 0.4), trial(3, 0.9)]
    assert [t.number for t in best_two(trials)] == [1, 2]
    assert [(t.number, seed) for t, seed in missing_repeats(trials, 7)] == [(1, 8), (2, 8), (1, 9), (2, 9)]
    done = dataclasses.replace(trial(4, 0.6, 0.6, 0.6, repeats=1), seed=8)
    failed = dataclasses.replace(trial(5, repeats=2, lost="failed"), seed=8)
    assert [(t.number, seed) for t, seed in missing_repeats([*trials, done, failed], 7)] == [(1, 9), (2, 9)]
    assert whole_seconds(trials[1]) == pytest.approx(33.0)


def test_the_mean_over_the_seeds_that_both_have_decides() -> None:
    trials = [trial(0, 0.1, 0.2, 0.5), trial(1, 0.1, 0.2, 0.4)]
    assert winner(trials) == trials[0]
    again = [dataclasses.replace(trial(2, 0.3, 0.3, 0.3, repeats=0), seed=1)]
    assert winner(trials + again) == trials[0], "only one has that seed"
    again.append(dataclasses.replace(trial(3, 0.6, 0.6, 0.6, repeats=1), seed=1))
    assert winner(trials + again) == trials[1]
    assert by_seed(trials + again, trials[1]) == {0: 0.4, 1: 0.6}
    lucky = trial(4, 0.1, 0.2, 0.6)
    assert winner([*trials, *again, lucky]) == trials[1], "one seed is not enough"
    assert repeated([*trials, *again, lucky]) == trials
    assert winner([trial(0, 0.3)]) is None


def test_rungs_end_with_the_whole_run() -> None:
    assert RUNGS[-1] == 1 and list(RUNGS) == sorted(RUNGS)
