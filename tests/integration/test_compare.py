import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Finished, Run

SCRIPTS = Path(__file__).parents[2] / "scripts"
Script = Callable[..., list[str]]


@pytest.fixture
def script(xmc: Run, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Run a script in this process, the commands of xmc that it starts too; returns the names of these."""

    def run(name: str, *arguments: object) -> list[str]:
        started: list[str] = []

        def start(command: list[str]) -> Finished:
            assert command[:3] == [sys.executable, "-m", "xmc"]
            started.append(command[3])
            return xmc(*command[3:])

        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", [name, *map(str, arguments)])
            patch.setattr("subprocess.run", start)
            patch.syspath_prepend(str(SCRIPTS))
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        return started

    return run


def overrides(corpus: Path) -> list[str]:
    data = [f"data.root={corpus}", f"data.cache_dir={corpus.parent / 'cache'}", "data=jsonl"]
    return [*data, "trainer.max_steps=20", "trainer.threads=1", "trainer.log_every=10", "sparsity=static"]


def test_a_comparison_is_run_once_and_goes_on(corpus: Path, tmp_path: Path, script: Script) -> None:
    out = tmp_path / "out"
    small = [*overrides(corpus), "encoder.width=32"]
    assert script("compare.py", out, "--experiments", "dense", *small) == ["train"]
    more = script("compare.py", out, "--experiments", "dense,static", "--fan-ins", "4,8", *small)
    assert more == ["train", "train"]  # the dense run stands
    rows = json.loads((out / "compare.json").read_text())
    assert [(row["experiment"], row["fan_in"]) for row in rows] == [("dense", None), ("static", 4), ("static", 8)]
    assert [row["classifier_bytes"] for row in rows] == [12 * (4 * 32 + 4), 12 * (6 * 4 + 4), 12 * (6 * 8 + 4)]
    table = (out / "compare.md").read_text().splitlines()
    assert len(table) == 7 and table[-1].startswith("| static | 8 | 0.0 | ")


def test_without_dev_data_a_finished_run_stands(corpus: Path, tmp_path: Path, script: Script) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        shutil.copy(corpus / name, data)
    wanted = ["--experiments", "dense", "--split", "test", *overrides(data), "encoder.width=32", "data.dev_fraction=0"]
    assert script("compare.py", out, *wanted) == ["train", "evaluate"]
    assert script("compare.py", out, *wanted) == []
    assert not (out / "dense-s0" / "metrics-dev.json").exists()
    assert json.loads((out / "compare.json").read_text())[0]["mean"]["P@1"] > 0


def test_a_mistyped_option_is_no_override(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "compare.py"), str(tmp_path), "--experiments", "dense", "--fan-in", "4"]
    assert subprocess.run(command, capture_output=True).returncode == 2


def test_learning_rates_are_tried_at_every_fan_in(corpus: Path, tmp_path: Path, script: Script) -> None:
    started = script("lr_transfer.py", tmp_path, "--rates", "0.01", *overrides(corpus), "encoder.width=130")
    assert started == ["train"] * 3  # at K = 128 both parametrizations are one
    rows = [line.split(" | ") for line in (tmp_path / "lr_transfer.md").read_text().splitlines()[2:]]
    assert [row[0].split()[-1] + row[1] for row in rows] == ["standard128", "standard32", "supar128", "supar32"]
    assert "kind: supar" in (tmp_path / "supar-k32-lr0.01" / "config.yaml").read_text()
