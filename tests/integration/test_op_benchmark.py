"""scripts/benchmarks/fan_in.py: what it needs is looked for first, and what it measured is kept."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from harness import script_module

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "fan_in.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, about to measure a small problem into `out.json`."""
    module = script_module(SCRIPT, monkeypatch)
    monkeypatch.setattr(module, "measure_ceilings", lambda: (1e10, 1e11))
    small = {"labels": 64, "width": 32, "fan-in": 4, "batch": 2, "group": 1, "repeats": 1}
    options = small | {"threads": torch.get_num_threads(), "out": tmp_path / "deep" / "out"}
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *given, "--functions", "linear", "topk"])
    return module


def functions(folder: Path) -> set[str]:
    return {row["function"] for row in json.loads((folder / "deep" / "out.json").read_text())["rows"]}


@pytest.mark.slow
def test_without_matplotlib(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    script.main()
    assert functions(tmp_path) == {"linear", "topk"}
    assert capsys.readouterr().err == "no plot: matplotlib is not installed\n"


def test_what_was_measured_before_a_failure_is_kept(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = script.run

    def failing(function: str, *rest: object) -> object:
        if function == "topk":
            raise KeyboardInterrupt
        return run(function, *rest)

    monkeypatch.setattr(script, "run", failing)
    with pytest.raises(KeyboardInterrupt):
        script.main()
    assert functions(tmp_path) == {"linear"}
