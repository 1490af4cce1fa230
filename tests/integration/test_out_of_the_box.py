import json
import resource
from pathlib import Path

import pytest
from harness import Run, script_module

SCRIPT = Path(__file__).parents[2] / "scripts" / "out_of_the_box.py"


def test_sets_are_trained_measured_and_told_in_one_table(
    corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, told = script_module(SCRIPT, monkeypatch), []

    def here(command: str, *arguments: str) -> resource.struct_rusage:
        told.append(xmc(command, *arguments).stderr)
        return resource.getrusage(resource.RUSAGE_SELF)

    monkeypatch.setattr(script, "spent", here)
    output, more = tmp_path / "figures.json", ["trainer.max_steps=8", "encoder.width=32"]
    given = [f"{corpus}:text", "--seeds", "3", "--output", str(output), "--keep", str(tmp_path), "--set", *more]
    script.main(given)
    (figures,) = json.loads(output.read_text())
    assert figures["set"] == corpus.name and figures["seed"] == 3
    assert all(0 <= figures[name] <= 100 for name in ("P@1", "nDCG@5", "PSP@5"))
    assert figures["cpu_s"] > 1 and figures["peak_mib"] > 100 and figures["model_mib"] > 0.01
    assert f"| {corpus.name} | 1 | {figures['P@1']:.2f} |" in capsys.readouterr().out
    assert "recipe: trainer.epochs" in told[0] and "lexical half" in told[0]


def test_a_command_that_fails_ends_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    script = script_module(SCRIPT, monkeypatch)
    assert script.spent("--version").ru_maxrss > 0
    with pytest.raises(SystemExit):
        script.spent("no-such-command")
