import csv
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Finished, Run, small
from pyarrow import parquet

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def swept(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> tuple[Path, str]:
    """The folder of a sweep, and what it printed."""
    sweep = tmp_path_factory.mktemp("sweep") / "s"
    given = small(corpus, f"run={sweep}", "trainer.max_steps=6", "sparsity=static,set", "seed=1,2")
    return sweep, xmc("train", "--multirun", *given).stdout


def test_a_sweep_names_its_folders_by_what_differs_and_ends_with_a_table(swept: tuple[Path, str]) -> None:
    sweep, printed = swept
    names = [f"seed={seed}+sparsity={strategy}" for seed in (1, 2) for strategy in ("set", "static")]
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == names
    assert "seed: 2" in (sweep / "seed=2+sparsity=set" / "config.yaml").read_text()
    lines = printed.splitlines()
    assert lines[0] == "On dev, in percent; mean over seed, and half the range."
    assert lines[2].startswith("| sparsity | P@1 | P@3 | P@5 | PSP@5 | nDCG@5 | classifier MiB | minutes | peak MiB |")
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| static", "| set"]
    assert all(" ± " in line for line in lines[4:])


def test_a_sweep_goes_on_with_the_runs_that_are_left(
    swept: tuple[Path, str], corpus: Path, tmp_path: Path, xmc: Run
) -> None:
    sweep, done, missing = tmp_path / "s", "seed=1", "seed=3"
    shutil.copytree(swept[0] / "seed=1+sparsity=static", sweep / done)
    given = small(corpus, f"run={sweep}", "trainer.max_steps=6", "sparsity=static", "seed=1,3")
    refused = xmc("train", "--multirun", *given, check=False).stderr
    assert "already holds a run; go on with it by resume=true" in refused
    told = xmc("train", "--multirun", *given, "resume=true")
    assert f"{sweep / done} is finished" in told.stderr and (sweep / missing / "model").is_dir()
    assert "| P@1 |" in told.stdout


def test_columns_are_the_keys_that_differ(swept: tuple[Path, str], tmp_path: Path, xmc: Run) -> None:
    sweep, _ = swept
    one, other = sweep / "seed=1+sparsity=set", sweep / "seed=2+sparsity=set"
    out = tmp_path / "out.csv"
    printed = xmc("compare", f"runs=[{one},{other}]", "over=none", f"output={out}").stdout.splitlines()
    assert printed[0] == "On dev, in percent." and printed[2].startswith("| seed | P@1 |") and len(printed) == 6
    rows = list(csv.DictReader(out.open()))
    assert [row["seed"] for row in rows] == ["1", "2"] and rows[0]["run"] == str(one)
    assert 0 < float(rows[0]["nDCG@5"]) <= 1 and int(rows[0]["classifier_bytes"]) == 12 * (6 * 8 + 4)
    xmc("compare", f"runs={sweep}/*", f"output={tmp_path / 'out.parquet'}")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 4 and {"run", "seed", "sparsity.kind", "P@1", "minutes"} <= set(table.column_names)


def test_runs_that_were_not_measured_say_how(swept: tuple[Path, str], tmp_path: Path, xmc: Run) -> None:
    sweep, _ = swept
    refused = xmc("compare", f"runs={sweep}/*", "split=test", check=False)
    assert "has no figures on test; measure it with: xmc evaluate run=" in refused.stderr
    refused = xmc("compare", f"runs={sweep}/*", "output=x.xlsx", check=False)
    assert "output: got 'x.xlsx'; give a name in .csv or .parquet" in refused.stderr


def test_learning_rates_are_tried_at_every_fan_in(
    corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(command: list[str]) -> Finished:
        assert command[:3] == [sys.executable, "-m", "xmc"]
        started.append(command[3])
        return xmc(*command[3:])

    data = [f"data.root={corpus}", f"data.cache_dir={corpus.parent / 'cache'}", "data=jsonl", "sparsity=static"]
    limits = ["trainer.max_steps=20", "trainer.threads=1", "trainer.log_every=10", "encoder.width=130"]
    with monkeypatch.context() as patch:
        patch.setattr("sys.argv", ["lr_transfer.py", str(tmp_path), "--rates", "0.01", *data, *limits])
        patch.setattr("subprocess.run", start)
        runpy.run_path(str(SCRIPTS / "lr_transfer.py"), run_name="__main__")
    assert started == ["train"] * 3  # at K = 128 both parametrizations are one
    rows = [line.split(" | ") for line in (tmp_path / "lr_transfer.md").read_text().splitlines()[2:]]
    assert [row[0].split()[-1] + row[1] for row in rows] == ["standard128", "standard32", "supar128", "supar32"]
    assert "kind: supar" in (tmp_path / "supar-k32-lr0.01" / "config.yaml").read_text()


def test_a_mistyped_option_is_no_override(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "lr_transfer.py"), str(tmp_path), "--rate", "4"]
    assert subprocess.run(command, capture_output=True).returncode == 2
