import json
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"


def compare(*arguments: object) -> subprocess.CompletedProcess[str]:
    return script("compare.py", *arguments)


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPTS / name), *map(str, arguments)], capture_output=True, text=True)


def overrides(corpus: Path) -> list[str]:
    data = [f"data.root={corpus}", f"data.cache_dir={corpus.parent / 'cache'}", "data=jsonl"]
    return [*data, "trainer.max_steps=20", "trainer.threads=1", "trainer.log_every=10", "sparsity=static"]


def test_a_comparison_is_run_once_and_goes_on(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = [*overrides(corpus), "encoder.width=32"]
    first = compare(out, "--experiments", "dense", *small)
    assert first.returncode == 0, first.stderr
    done = compare(out, "--experiments", "dense,static", "--fan-ins", "4,8", *small)
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("xmc train") for line in done.stdout.splitlines()) == 2  # the dense run stands
    rows = json.loads((out / "compare.json").read_text())
    assert [(row["experiment"], row["fan_in"]) for row in rows] == [("dense", None), ("static", 4), ("static", 8)]
    assert [row["classifier_bytes"] for row in rows] == [12 * (4 * 32 + 4), 12 * (6 * 4 + 4), 12 * (6 * 8 + 4)]
    table = (out / "compare.md").read_text().splitlines()
    assert len(table) == 7 and table[-1].startswith("| static | 8 | 0.0 | ")


def test_without_dev_data_a_finished_run_stands(corpus: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        shutil.copy(corpus / name, data)
    wanted = ["--experiments", "dense", "--split", "test", *overrides(data), "encoder.width=32", "data.dev_fraction=0"]
    first, again = compare(out, *wanted), compare(out, *wanted)
    assert first.returncode == 0, first.stderr
    assert "xmc train" in first.stdout and "xmc train" not in again.stdout
    assert not (out / "dense-s0" / "metrics-dev.json").exists()
    assert json.loads((out / "compare.json").read_text())[0]["mean"]["P@1"] > 0


def test_a_mistyped_option_is_no_override(tmp_path: Path) -> None:
    done = compare(tmp_path, "--experiments", "dense", "--fan-in", 4)
    assert done.returncode == 2


def test_learning_rates_are_tried_at_every_fan_in(corpus: Path, tmp_path: Path) -> None:
    done = script("lr_transfer.py", tmp_path, "--rates", "0.01", *overrides(corpus), "encoder.width=130")
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("xmc train") for line in done.stdout.splitlines()) == 3  # at K = 128 both are one
    rows = [line.split(" | ") for line in (tmp_path / "lr_transfer.md").read_text().splitlines()[2:]]
    assert [row[0].split()[-1] + row[1] for row in rows] == ["standard128", "standard32", "supar128", "supar32"]
    assert "kind: supar" in (tmp_path / "supar-k32-lr0.01" / "config.yaml").read_text()
