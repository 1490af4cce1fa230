"""scripts/benchmarks/threads.py: every way to run is measured, idle and busy, and what was measured is kept."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from harness import script_module, small

from xmc.config import TrainConfig, parse
from xmc.config.compose import compose

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "threads.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script_module(SCRIPT, monkeypatch)


def overrides(corpus: Path) -> list[str]:
    return [str(override) for override in small(corpus, "auxiliary=none", "trainer.threads=1")]


def arguments(monkeypatch: pytest.MonkeyPatch, *given: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, given), "--steps", "2", "--repeats", "2"])


def test_a_process_answers_as_often_as_it_is_asked(script: ModuleType, corpus: Path) -> None:
    answers = io.StringIO()
    script.serve(parse(TrainConfig, compose(overrides(corpus))), 3, io.StringIO("\n\n"), answers)
    speeds = [script.Speed(**json.loads(line)) for line in answers.getvalue().splitlines()]
    assert len(speeds) == 2 and all(speed.documents > 0 and speed.processor > 0 for speed in speeds)


@pytest.mark.slow
def test_idle_and_busy(
    script: ModuleType,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "deep" / "out"
    arguments(monkeypatch, *overrides(corpus), "--threads", 1, 2, "--spins", 0, "--out", out)
    script.main()
    rows = json.loads(out.with_suffix(".json").read_text())
    assert [(row["threads"], row["spins"]) for row in rows] == [(1, None), (2, 0)]
    assert all(len(row["idle"]) == len(row["busy"]) == 2 for row in rows)
    _, _, first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("| 1 |  | ") and second.startswith("| 2 | 0 | ")


@pytest.mark.slow
def test_a_process_that_fails(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments(monkeypatch, "data=jsonl", f"data.root={tmp_path / 'nowhere'}", "--threads", 1, "--out", tmp_path / "out")
    with pytest.raises(SystemExit, match="the process with 1 threads ended with status 1"):
        script.main()
