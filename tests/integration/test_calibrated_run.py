"""calibrate, and what it changes of evaluate and predict, as a user types them."""

import json
import shutil
from pathlib import Path

import pytest
from harness import Run
from test_bad_input import fails


@pytest.fixture(scope="module")
def calibrated(trained: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    run = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("checkpoints"))
    xmc("evaluate", f"run={run}", "split=test")
    (run / "metrics-test.json").rename(run / "before.json")
    told = xmc("calibrate", f"run={run}", "per_label=true").stdout
    assert "kept: " in told and "at the thresholds: micro-F1 " in told
    return run


def test_the_run_folder(calibrated: Path) -> None:
    saved = json.loads((calibrated / "calibration.json").read_text())
    assert saved["documents"] == 60 and set(saved["calibration_error"]["before"]) == {"1", "3", "5", "20"}
    assert saved["calibration_error"][saved["kept"]]["5"] < saved["calibration_error"]["before"]["5"]
    card = json.loads((calibrated / "model" / "xmc.json").read_text())
    assert card["calibration"]["scale"] == saved["calibration"]["scale"] and card["calibration"]["k"] == 20


def test_evaluation_is_what_it_was(calibrated: Path, xmc: Run) -> None:
    told = xmc("evaluate", f"run={calibrated}", "split=test").stdout
    assert (calibrated / "metrics-test.json").read_text() == (calibrated / "before.json").read_text()
    decisions = json.loads((calibrated / "decisions-test.json").read_text())
    assert decisions["assignment"]["micro_f1"] > 0.8 and 1 < decisions["assignment"]["per_document"] < 2
    assert f"at the thresholds: micro-F1 {100 * decisions['assignment']['micro_f1']:.2f}" in told
    assert decisions["calibration_error"]["calibrated"]["5"] < decisions["calibration_error"]["before"]["5"]


def test_again_is_the_same(calibrated: Path, xmc: Run) -> None:
    before = (calibrated / "calibration.json").read_text()
    xmc("calibrate", f"run={calibrated}", "per_label=true")
    assert (calibrated / "calibration.json").read_text() == before


def test_predict(calibrated: Path, trained: Path, corpus: Path, xmc: Run) -> None:
    def labels(run: Path, *options: str) -> list[list[str]]:
        told = xmc("predict", f"run={run}", f"input={corpus / 'test.jsonl'}", *options).stdout
        return [[p["label"] for p in json.loads(line)["labels"]] for line in told.splitlines()]

    assert labels(calibrated) == labels(trained)
    truth = [set(json.loads(line)["labels"]) for line in (corpus / "test.jsonl").read_text().splitlines()]
    assigned = labels(calibrated, "threshold=auto")
    assert sum(set(row) == true for row, true in zip(assigned, truth, strict=True)) > 0.7 * len(truth)
    assert all(len(row) <= 1 for row in labels(calibrated, "threshold=auto", "k=1"))
    assert sum(map(len, labels(trained, "threshold=0.99"))) < sum(map(len, assigned))


def test_mistakes(trained: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    documents = f"input={corpus / 'test.jsonl'}"
    assert "choose them on dev data with" in fails(xmc, "predict", f"run={trained}", documents, "threshold=auto")
    told = fails(xmc, "predict", f"run={trained}", documents, "threshold=2")
    assert "threshold: got 2; give auto, a probability from 0 to 1, or null" in told
    assert "precision: got 1.5" in fails(xmc, "calibrate", f"run={trained}", "precision=1.5")
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("checkpoints"))
    shutil.copytree(corpus, tmp_path / "data")
    (tmp_path / "data" / "dev.jsonl").unlink()
    config = (run / "config.yaml").read_text().replace(str(corpus), str(tmp_path / "data"))
    (run / "config.yaml").write_text(config.replace("dev_fraction: 0.1", "dev_fraction: 0.0"))
    assert "has no dev split (data.dev_fraction=0) to calibrate on" in fails(xmc, "calibrate", f"run={run}")
