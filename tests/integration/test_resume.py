"""Interrupted runs go on, and end as undisturbed ones do, to the bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from harness import Run, command, small, write_bow

from xmc.ops.fan_in import api
from xmc.train.log import LocalLog, Record

# Dropout, the auxiliary head, SET and early evaluations are all at work in these runs.
OVERRIDES = ("trainer.epochs=4", "trainer.checkpoint_every=7", "trainer.log_every=1")
STEPS = 100
RIGL = ["sparsity=rigl", "sparsity.interval=10", "sparsity.batches=3"]
BOW = ["data=bow", "data.root={bow}", "data.cache_dir={bow}/cache", "encoder=sparse_features", "encoder.width=32"]
TRANSFORMER = ["encoder=transformer", "encoder.name={bert}", "encoder.max_length=16"]


def model_bytes(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted((run / "model").rglob("*")) if p.is_file()}


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    log = run / "log.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) >= step:
            return
        time.sleep(0.002)
    pytest.fail(f"the run never reached step {step}: {process.communicate()[1]}")


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    xmc("train", *small(corpus, f"run={run}", *OVERRIDES))
    return run


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_it_ends_the_same(corpus: Path, tmp_path: Path, xmc: Run, undisturbed: Path, kills: int) -> None:
    run = tmp_path / "run"
    moments = sorted(random.sample(range(5, STEPS - 10), kills))
    print("killed after log lines", moments)
    arguments = small(corpus, f"run={run}", *OVERRIDES)
    for moment in moments:
        with subprocess.Popen(command("train", *arguments), stderr=subprocess.PIPE, text=True) as process:
            wait_for_step(run, moment, process)
            process.send_signal(signal.SIGKILL)
        arguments = [f"run={run}", "resume=true"]
    xmc("train", *arguments)
    assert model_bytes(run) == model_bytes(undisturbed)
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines() if '"loss"' in line]
    assert steps == list(range(1, STEPS + 1))


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(RIGL, marks=pytest.mark.slow),
        [*RIGL, "intermediate=linear", "intermediate.width=24", "sparse_ift=factorized"],
        [*RIGL, *TRANSFORMER, "encoder.lexical.width=8", "sparse_ift=wide", "sparse_ift.layers=[encoder]"],
        pytest.param(["sparsity=topkast", "sparsity.refresh=10", "sparsity.store=implicit"], marks=pytest.mark.slow),
        ["sparsity=topkast", "sparsity.refresh=10", "sparsity.store=mapped"],
        [
            *("classifier/optimizer=sgd", "classifier.weight_dtype=bfloat16", "classifier.group_size=2"),
            *("trainer.logit_adjustment=0.3", "auxiliary=none"),
        ],
        BOW,
    ],
    ids=" ".join,
)
def test_stopped_in_the_middle_of_an_interval(
    corpus: Path, tmp_path: Path, xmc: Run, bert_folder: Path, strategy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 29, after two rewirings and within the batches that RigL looks at before the third."""
    overrides = ["trainer.max_steps=35", "trainer.log_every=1", "trainer.eval_every=35"]
    write_bow(corpus, tmp_path / "bow")
    overrides += [override.format(bert=bert_folder, bow=tmp_path / "bow") for override in strategy]
    xmc("train", *small(corpus, f"run={tmp_path / 'whole'}", *overrides))
    real = LocalLog.log

    def log_and_stop(self: LocalLog, record: Record) -> None:
        real(self, record)
        if record["step"] == 29:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(LocalLog, "log", log_and_stop)
        stopped = xmc("train", *small(corpus, f"run={tmp_path / 'parts'}", *overrides), check=False)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert f"go on with: xmc train run={tmp_path / 'parts'} resume=true" in stopped.stderr
    xmc("train", f"run={tmp_path / 'parts'}", "resume=true")
    assert model_bytes(tmp_path / "parts") == model_bytes(tmp_path / "whole")
    log = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert sum(record.get("grown", 0) for record in log if record["step"] < 29) > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_how_to_go_on(
    corpus: Path, tmp_path: Path, xmc: Run, undisturbed: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    arguments = command("train", *small(corpus, f"run={run}", *OVERRIDES))
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        wait_for_step(run, 12, process)
        process.send_signal(number)
        assert process.stderr is not None
        told = process.stderr.read()
    assert process.returncode == 128 + number
    assert f"go on with: xmc train run={run} resume=true" in told
    assert list((run / "checkpoints").glob("step-*"))
    xmc("train", f"run={run}", "resume=true")
    assert model_bytes(run) == model_bytes(undisturbed)


def test_the_number_of_threads_may_change(
    corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    overrides = [
        "trainer.max_steps=30",
        "trainer.log_every=1",
        "trainer.checkpoint_every=100",
        "trainer.eval_every=100",
    ]
    real = LocalLog.log

    def log_and_stop(self: LocalLog, record: Record) -> None:
        real(self, record)
        if record["step"] in (10, 20):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(LocalLog, "log", log_and_stop)
    threads = torch.get_num_threads()
    try:
        xmc("train", *small(corpus, f"run={run}", *overrides), check=False)
        changed = xmc("train", f"run={run}", "resume=true", "trainer.threads=2", check=False).stderr
        back = xmc("train", f"run={run}", "resume=true").stderr
    finally:
        torch.set_num_threads(threads)
    assert "resuming after step 10" in changed and "threads: 1 until here, 2 from now on" in changed
    assert "resuming after step 20" in back and "threads: 2 until here, 1 from now on" in back
    assert (run / "model").is_dir()


def test_same_seed_same_model(corpus: Path, tmp_path: Path, xmc: Run, undisturbed: Path) -> None:
    xmc("train", *small(corpus, f"run={tmp_path / 'run'}", *OVERRIDES))
    assert model_bytes(tmp_path / "run") == model_bytes(undisturbed)


def test_resuming_a_finished_run_changes_nothing(xmc: Run, undisturbed: Path) -> None:
    before, log = model_bytes(undisturbed), (undisturbed / "log.jsonl").read_bytes()
    checkpoints = undisturbed / "checkpoints"
    for _ in range(2):
        done = xmc("train", f"run={undisturbed}", "resume=true")
        assert "is finished, nothing to do" in done.stderr
        assert model_bytes(undisturbed) == before and (undisturbed / "log.jsonl").read_bytes() == log
        shutil.rmtree(checkpoints, ignore_errors=True)  # they are several times the model, and no longer needed


def test_the_back_end_stays_that_of_the_checkpoint(
    corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalLog.log

    def log_and_stop(self: LocalLog, record: Record) -> None:
        real(self, record)
        os.kill(os.getpid(), signal.SIGTERM)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(api, "BACKENDS", ("torch", "reference"))  # as where numba is missing
        patch.setattr(LocalLog, "log", log_and_stop)
        xmc("train", *small(corpus, f"run={run}", "trainer.max_steps=14", "trainer.log_every=7"), check=False)
    (state,) = run.glob("checkpoints/step-*/state.json")
    assert json.loads(state.read_text())["backend"] == "torch"
    told = xmc("train", f"run={run}", "resume=true").stderr
    assert "classifier back end: numba" in told and "classifier back end: torch, as before\n" in told
