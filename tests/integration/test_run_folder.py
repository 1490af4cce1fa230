"""A run folder has one writer, and is whole at whatever moment a command ends."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from harness import Run, small

from xmc.model import XMCModel
from xmc.storage import locked


def unfinished(trained: Path, folder: Path) -> Path:
    run = Path(shutil.copytree(trained, folder / "run"))
    shutil.rmtree(run / "model")
    (run / "metrics-dev.json").unlink()
    return run


def content(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def stop(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGTERM)


def test_one_writer_at_a_time(corpus: Path, trained: Path, tmp_path: Path, xmc: Run) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    new = small(corpus, f"run={tmp_path / 'new'}")
    for folder, arguments in (
        (tmp_path / "new", ["train", *new]),
        (tmp_path / "new", ["finetune", f"from={trained}", "data=jsonl", f"data.root={corpus}", *new[-1:]]),
        (run, ["calibrate", f"run={run}"]),
    ):
        with locked(folder):
            told = xmc(*arguments, check=False)
        assert told.returncode == 1
        assert f"{folder} is in use by process {os.getpid()} on " in told.stderr.splitlines()[-1]
    assert not (tmp_path / "new").exists() and content(run) == content(trained)


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        ("train", "xmc.factory.load_corpus"),
        ("train", "xmc.workflow.training.save_model"),
        ("evaluate", "xmc.workflow.predicting.rank"),
        ("calibrate", "xmc.workflow.calibrating.calibrate"),
        ("predict", "xmc.workflow.predicting.predict_documents"),
    ],
)
def test_a_signal_is_answered_at_any_moment(
    trained: Path, corpus: Path, tmp_path: Path, xmc: Run, command: str, stage: str
) -> None:
    run = unfinished(trained, tmp_path) if command == "train" else Path(shutil.copytree(trained, tmp_path / "run"))
    more = {"train": ["resume=true"], "predict": [f"input={corpus / 'test.jsonl'}"]}.get(command, [])
    before = content(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, stop)
        stopped = xmc(command, f"run={run}", *more, check=False)
    go_on = f"go on with: xmc train run={run} resume=true" if command == "train" else "give the command again"
    assert (stopped.returncode, stopped.stderr.splitlines()[-1]) == (128 + signal.SIGTERM, f"interrupted; {go_on}")
    kept = content(run)
    assert {name: kept[name] for name in before if name != "log.jsonl"} == {
        name: text for name, text in before.items() if name != "log.jsonl"
    }
    xmc(command, f"run={run}", *more)
    if command == "train":
        assert content(run / "model") == content(trained / "model")
        assert (run / "metrics-dev.json").read_bytes() == (trained / "metrics-dev.json").read_bytes()


def test_a_run_is_finished_once_its_model_is_whole(trained: Path, tmp_path: Path, xmc: Run) -> None:
    """Neither an empty folder nor what a killed version before left is a model; nor are foreign folders checkpoints."""
    run = unfinished(trained, tmp_path)
    for folder in ("model", ".model.tmp", *(f"checkpoints/{name}" for name in ("step-foo", "step-1", ".step-9.tmp"))):
        (run / folder).mkdir()
    assert "has no finished model" in xmc("evaluate", f"run={run}", check=False).stderr
    xmc("train", f"run={run}", "resume=true")
    assert content(run / "model") == content(trained / "model")
    left = {path.name for path in run.iterdir()} | {path.name for path in (run / "checkpoints").iterdir()}
    assert {"step-foo", "step-1"} < left and not [name for name in left if name.startswith(".")]


def test_a_damaged_model_is_not_finished(trained: Path, tmp_path: Path, xmc: Run) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "model" / "xmc.json").write_text("{}")
    for command in (["train", "resume=true"], ["evaluate"]):
        told = xmc(*command, f"run={run}", check=False)
        assert told.returncode == 1
        assert "model/xmc.json: format_version: Field required" in told.stderr.splitlines()[-1]
    told = xmc("train", f"run={run}", "resume=true", check=False)
    assert f"or delete {run / 'model'}, and save it anew with: xmc train run={run} resume=true" in told.stderr
    shutil.rmtree(run / "model")
    xmc("train", f"run={run}", "resume=true")
    assert content(run / "model") == content(trained / "model")


def test_a_calibration_and_its_figures_are_of_one_kind(
    trained: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    xmc("calibrate", f"run={run}")
    card = (run / "model" / "xmc.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(XMCModel, "save_card", stop)
        xmc("calibrate", f"run={run}", "precision=0.9", check=False)
    assert not (run / "calibration.json").exists() and (run / "model" / "xmc.json").read_bytes() == card
    with monkeypatch.context() as patch:
        patch.setattr("xmc.workflow.run_folder.write_json", stop)
        xmc("calibrate", f"run={run}", "precision=0.9", check=False)
    assert not (run / "calibration.json").exists() and (run / "model" / "xmc.json").read_bytes() != card
    xmc("calibrate", f"run={run}", "precision=0.9")
    assert (run / "calibration.json").exists()


def test_what_was_measured_is_shown_where_it_cannot_be_kept(trained: Path, tmp_path: Path, xmc: Run) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    shown = xmc("evaluate", f"run={run}").stdout
    (run / "metrics-test.json").unlink()
    (run / "metrics-test.json").mkdir()
    told = xmc("evaluate", f"run={run}", check=False)
    assert told.returncode == 1 and told.stdout == shown
    assert f"{run / 'metrics-test.json'} could not be written (is a folder" in told.stderr


@pytest.mark.parametrize("way_on", ["resume=true", "again"])
def test_a_failed_first_step(corpus: Path, tmp_path: Path, xmc: Run, way_on: str) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise MemoryError("Unable to allocate 4.00 GiB")

    arguments = small(corpus, f"run={tmp_path / 'run'}", "trainer.max_steps=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xmc.train.step.compute_gradients", fail)
        failed = xmc("train", *arguments, check=False)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "memory is exhausted (Unable to allocate 4.00 GiB)" in failed.stderr
    if way_on == "again":
        done = xmc("train", *arguments, "trainer.batch_size=8")
        assert "holds a run that has learned nothing yet; it starts anew" in done.stderr
        assert "batch_size: 8" in (tmp_path / "run" / "config.yaml").read_text()
    else:
        assert "no checkpoint yet; starting with step 1" in xmc("train", f"run={tmp_path / 'run'}", way_on).stderr
    assert (tmp_path / "run" / "model" / "xmc.json").is_file()


def test_checkpoints_without_a_configuration_are_a_run_too(
    trained: Path, corpus: Path, tmp_path: Path, xmc: Run
) -> None:
    run = unfinished(trained, tmp_path)
    (run / "config.yaml").unlink()
    told = xmc("train", *small(corpus, f"run={run}"), check=False).stderr
    assert f"{run} already holds a run; choose another folder" in told


def test_weights_and_biases_that_does_not_start(
    corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")

    def refuse(**_: object) -> Any:
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb, "init", refuse)
    arguments = small(corpus, f"run={tmp_path / 'run'}", "trainer.max_steps=2", "tracking=wandb")
    told = [xmc("train", *arguments, check=False)]
    for mode in ("offline", "disabled"):
        monkeypatch.setenv("WANDB_MODE", mode)
        told.append(xmc("train", *arguments, check=False))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told.append(xmc("train", *arguments, check=False))
    expected = (
        "does not start (No API key configured. Use `wandb login` to log in.); log in with `wandb login`, or give",
        "WANDB_MODE=offline, and tracking.mode=online; give tracking.mode=offline, or unset it",
        "WANDB_MODE=disabled, and tracking.mode=online; give tracking=none, or unset it",
        "tracking=wandb needs the package wandb",
    )
    for finished, text in zip(told, expected, strict=True):
        assert finished.returncode == 1 and text in finished.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_log_with_foreign_lines_stops_nothing(trained: Path, tmp_path: Path, xmc: Run) -> None:
    run = unfinished(trained, tmp_path)
    log = (run / "log.jsonl").read_text()
    (run / "log.jsonl").write_text("hello\n[1]\n" + log)
    assert "passed over 2 of " in xmc("train", f"run={run}", "resume=true").stderr
    assert [json.loads(line) for line in log.splitlines()] == [
        json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()
    ]
