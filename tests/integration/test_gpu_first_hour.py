"""scripts/gpu_first_hour.py from end to end on a CPU, at toy sizes."""

import json
import random
import re
from pathlib import Path
from types import ModuleType

import pytest
from harness import Run, script_module

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_first_hour.py"
SOME = "machine|dense step|^eurlex57k, dense, auxiliary"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, xmc: Run) -> ModuleType:
    """The script, whose commands of xmc run in this process."""
    module = script_module(SCRIPT, monkeypatch)
    monkeypatch.setattr(module, "xmc", lambda command, given, left: xmc(command, *given))
    return module


@pytest.fixture
def given(script: ModuleType, tmp_path: Path) -> list[str]:
    """What a user gives: a transformer, and a set in place of both."""
    script.make_bert(tmp_path / "bert", toy=True)
    rng = random.Random(0)
    words = [consonant + vowel + end for consonant in "bdf" for vowel in "aeiou" for end in ("ba", "ne", "mo")]
    (tmp_path / "set").mkdir()
    for split, documents in (("train", 60), ("dev", 30)):
        with open(tmp_path / "set" / f"{split}.jsonl", "w") as out:
            for i in range(documents):
                chosen = rng.sample(words, 6)
                out.write(json.dumps({"id": f"{split}{i}", "text": " ".join(chosen), "labels": chosen[:2]}) + "\n")
    sets = [f"--{name}={tmp_path / 'set'}" for name in ("eurlex57k", "dictionary")]
    return [str(tmp_path / "out"), "--toy", "--device=cpu", f"--transformer={tmp_path / 'bert'}", *sets]


@pytest.mark.parametrize("only", [SOME, pytest.param("", marks=pytest.mark.slow)])
def test_all_stages_are_gone_through_and_kept(
    only: str, script: ModuleType, given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.main([*given, f"--only={only}"])
    done = json.loads((tmp_path / "out/gpu.json").read_text())
    assert {name: figures["failed"] for name, figures in done.items() if "failed" in figures} == {}
    trained = done["eurlex57k, dense, auxiliary"]
    assert {"loss", "dev/P@1", "dev/nDCG@5", "documents_per_second"} <= trained.keys()
    assert done["dense step, 300 labels"]["ms"] > 0
    page = (tmp_path / "out/gpu.md").read_text()
    assert page.startswith("# The first hour on no GPU: ") and "## eurlex57k, dense, auxiliary" in page
    if not only:
        assert done["memory of the Amazon-3M shape"]["estimated_mib"] > 0
        assert done["torch step, 300 labels, groups of 1"]["ms"] > 0
        assert len(done["recipe transformer"]["losses"]) == 3 and "## recipe transformer" in page
        assert re.match(r"\d+ (skipped|deselected)", done["tests"]["summary"])

    monkeypatch.setattr(script, "xmc", None)  # nothing is run again
    script.main([*given, f"--only={only}"])
    assert json.loads((tmp_path / "out/gpu.json").read_text()) == done


def test_what_fails_is_told_and_tried_again(
    script: ModuleType, given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = script.machine

    def broken(*_: object) -> None:
        raise RuntimeError("no such card")

    script.machine = broken
    script.main([*given, "--only=machine|dense step"])
    done = json.loads((tmp_path / "out/gpu.json").read_text())
    assert done["machine"]["failed"] == "RuntimeError: no such card" and done["dense step, 300 labels"]["ms"] > 0
    script.machine = sound
    script.main([*given, "--only=machine", "--minutes=0"])
    assert "machine: no time is left; give the command again" in capsys.readouterr().out
    script.main([*given, "--only=machine"])
    assert "failed" not in json.loads((tmp_path / "out/gpu.json").read_text())["machine"]
