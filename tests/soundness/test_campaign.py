"""The campaign of scripts/soundness can fail: it tells each planted fault. Samples of it are slow."""

import faulthandler
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.soundness.__main__ import one, table
from scripts.soundness.concurrent import judged
from scripts.soundness.kills import gone_on, remains, told
from scripts.soundness.models import executed
from scripts.soundness.mutations import mutate
from scripts.soundness.outcome import Outcome, Verdict, judge
from scripts.soundness.process import SECRET, Command, Ended

ROOT = Path(__file__).parents[2]


def raises() -> None:
    raise ValueError("planted")


def crashes() -> None:
    faulthandler.disable()  # of pytest
    os.kill(os.getpid(), signal.SIGSEGV)


def takes_memory() -> None:
    bytearray(3 << 30)


def tells_nothing() -> None:
    sys.exit(1)


def tells_two_lines() -> None:
    sys.exit("xmc train: one\ntwo")


def refuses() -> None:
    print("a line of the log", file=sys.stderr)
    sys.exit("xmc train: this is no data; give other data")


@pytest.mark.parametrize(
    ("main", "outcome"),
    [
        (raises, "traceback"),
        (crashes, "crash"),
        (takes_memory, "memory"),
        (tells_nothing, "unclear error"),
        (tells_two_lines, "unclear error"),
        (refuses, "refused"),
    ],
)
def test_the_end_of_a_command_is_judged(main: Callable[[], None], outcome: str) -> None:
    verdict = judge(Command(main=main, memory=1024).wait(30))
    assert verdict is not None and verdict.outcome == outcome, verdict


def test_a_command_that_does_not_end_hangs() -> None:
    verdict = judge(Command(main=lambda: time.sleep(60)).wait(0.1))
    assert verdict is not None and verdict.outcome == "hang"


def test_what_lies_there_in_the_end_is_compared(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("as undisturbed")
    assert remains(tmp_path, {"out": b"as undisturbed"}).outcome == "identical"
    assert remains(tmp_path, {"out": b"otherwise"}).outcome == "silent difference"
    assert remains(tmp_path, {"out": b"as undisturbed", "more": b""}).outcome == "silent difference"
    (tmp_path / ".out.tmp").write_text("half")
    assert remains(tmp_path, {"out": b"as undisturbed"}).outcome == "leftover"


def test_the_end_of_a_killed_command_is_judged() -> None:
    assert told(Ended(-signal.SIGKILL, "", ""), signal.SIGKILL).outcome == "read"
    assert told(Ended(-signal.SIGTERM, "", ""), signal.SIGTERM).outcome == "wordless death"
    assert told(Ended(143, "", "interrupted; give the command again"), signal.SIGTERM).outcome == "refused"
    assert gone_on(Ended(1, "", "xmc train: it already holds a run")).outcome == "dead end"
    assert gone_on(Ended(0, "", "")).outcome == "read"


def test_executed_code_and_told_secrets_are_seen(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    assert executed(Ended(0, "", ""), {"out": b"harmless"}, marker) is None
    for given in (
        executed(Ended(0, "", SECRET), {}, marker),
        executed(Ended(0, "", ""), {"o": SECRET.encode()}, marker),
    ):
        assert given is not None and given.outcome == "execution"
    ended = Command(main=lambda: marker.touch()).wait(30)
    given = executed(ended, {}, marker)
    assert given is not None and given.outcome == "execution"


def test_commands_at_once(tmp_path: Path) -> None:
    won, loser = Ended(0, "", ""), Ended(1, "", "xmc train: runs/a is in use by process 1; wait")
    assert judged([won, loser], (1, 1)) is None
    for ends, wins, outcome in (
        ([won, won], (1, 1), "silent difference"),
        ([loser, loser], (1, 1), "silent difference"),
        ([won, loser], None, "dead end"),
        ([won, Ended(1, "", "xmc train: something else")], (1, 1), "dead end"),
    ):
        verdict = judged(ends, wins)
        assert verdict is not None and verdict.outcome == outcome


def test_a_trial_depends_on_its_number_alone_and_a_fault_of_the_campaign_is_none_of_its_successes(
    tmp_path: Path,
) -> None:
    def draws(number: int, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        return repr(mutate(rng, b'{"id": 1}\n' * 9)), Verdict(Outcome.READ)

    def fails(number: int, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        raise RuntimeError("planted")

    first, again, other = (one("inputs", draws, number, 0, tmp_path) for number in (3, 3, 4))
    assert first == again and first.what != other.what
    failed = one("inputs", fails, 5, 0, tmp_path)
    assert not failed.outcome.sound
    assert table([first, other, failed]).splitlines()[-1] == "| inputs | 3 | 2 | 1 |"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trials"), [("kills", 16), ("flips", 24), ("inputs", 40), ("models", 40), ("concurrent", 8)]
)
def test_a_sample(kind: str, trials: int, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    seed = random.randrange(10_000)
    command = [
        "-m",
        "scripts.soundness",
        "--kind",
        kind,
        "--trials",
        str(trials),
        "--seed",
        str(seed),
        "--json",
        str(found),
    ]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr[-2000:]}"
    assert len(json.loads(found.read_text())["trials"]) == trials
