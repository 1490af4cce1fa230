"""Several processes train one run, as one process would but for the order of sums."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import Run, command, small
from safetensors.torch import load_file

from xmc.storage import locked

SHORT = ["auxiliary=none", "trainer.epochs=2", "trainer.eval_every=20", "trainer.checkpoint_every=7"]
# Dropout is drawn by each process for its own documents, and would be another than that of one process.
SAME = [*SHORT, "encoder.dropout=0", "encoder.term_dropout=0"]
DENSE = ["classifier=dense", "intermediate=linear", "intermediate.width=24", "lexical=none"]
TRANSFORMER = ["encoder=transformer", "encoder.max_length=16", "encoder.dropout=0", "encoder.backbone_dropout=0"]
TRANSFORMER += ["encoder.name={bert}"]
FIGURES = {"loss", "gradient_norm", "gradient/features", "dropped", "topology/turnover", "dev/nDCG@5"}


def start(size: int, *arguments: object, missing: tuple[int, ...] = ()) -> list[subprocess.Popen[str]]:
    """The processes of a job, in an environment as torchrun makes it."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    job = {"WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            command(*arguments),
            env=os.environ | job | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
        if rank not in missing
    ]


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[int], str]:
    """Exit statuses by rank, and what all of them told."""
    try:
        told = [process.communicate(timeout=600)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], "".join(told)


def trained_by(size: int, *arguments: object) -> str:
    codes, told = ended(start(size, "train", *arguments))
    assert codes == [0] * size, told
    return told


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def assert_same_but_for_sums(run: Path, other: Path) -> None:
    """The same connections; losses, weights and figures within the order of sums of some hundred steps in float32."""
    ours, theirs = records(run), records(other)
    assert [record["step"] for record in ours] == [record["step"] for record in theirs]
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.keys() == its.keys()
        for key in FIGURES & its.keys():
            assert mine[key] == pytest.approx(its[key], rel=1e-3), key
    head, expected = (load_file(folder / "model" / "head.safetensors") for folder in (run, other))
    assert head.keys() == expected.keys()
    for name, value in head.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=1e-3, msg=name)
        else:
            assert torch.equal(value, expected[name]), name


def model_bytes(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted((run / "model").rglob("*")) if p.is_file()}


def wait_for_step(run: Path, step: int, processes: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        if (run / "log.jsonl").exists() and len((run / "log.jsonl").read_text().splitlines()) >= step:
            return
        time.sleep(0.01)
    pytest.fail(f"never came to step {step}: {ended(processes)}")


@pytest.fixture(scope="module")
def by_one(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    run = tmp_path_factory.mktemp("one") / "run"
    xmc("train", *small(corpus, f"run={run}", *SAME))
    return run


def test_two_processes_train_the_run_of_one(corpus: Path, tmp_path: Path, by_one: Path) -> None:
    run = tmp_path / "run"
    told = trained_by(2, *small(corpus, f"run={run}", *SAME))
    assert told.count("processes: 2; labels a process: 6") == 1 and told.count("step 50/50") == 1
    assert all((r["processes"], r["labels_a_process"]) == (2, 6) for r in records(run))
    assert all((r["processes"], r["labels_a_process"]) == (1, 12) for r in records(by_one))
    assert_same_but_for_sums(run, by_one)
    assert sorted(p.name for p in run.iterdir()) == sorted(p.name for p in by_one.iterdir())


@pytest.mark.slow
def test_stopped_three_processes_are_gone_on_with_by_one(corpus: Path, tmp_path: Path, by_one: Path, xmc: Run) -> None:
    run = tmp_path / "run"
    processes = start(3, "train", *small(corpus, f"run={run}", *SAME, "trainer.log_every=1"))
    wait_for_step(run, 12, processes)
    for process in 2 * processes:  # a second time by torchrun
        process.send_signal(signal.SIGTERM)
    codes, told = ended(processes)
    assert codes == [128 + signal.SIGTERM] * 3, told
    assert told.count("interrupted; go on with: xmc train") == 1 and "Traceback" not in told
    resumed = xmc("train", f"run={run}", "resume=true")
    assert "processes: 3 until here, 1 from now on" in resumed.stderr
    head, expected = (load_file(folder / "model" / "head.safetensors") for folder in (run, by_one))
    assert torch.equal(head["classifier.index"], expected["classifier.index"])
    torch.testing.assert_close(head["classifier.weight"], expected["classifier.weight"], rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_one_job_at_a_time(corpus: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        codes, told = ended(start(2, "train", *small(corpus, f"run={tmp_path / 'run'}", *SAME)))
    assert codes == [1, 1] and "Traceback" not in told
    assert told.count("xmc train: ") == told.count("is in use by process") == 1


@pytest.fixture(scope="module")
def by_two(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two processes, with dropout."""
    run = tmp_path_factory.mktemp("two") / "run"
    trained_by(2, *small(corpus, f"run={run}", *SHORT))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [DENSE, TRANSFORMER], ids=" ".join)
def test_three_processes_train_with_any_network(
    corpus: Path, tmp_path: Path, xmc: Run, bert_folder: Path, overrides: list[str]
) -> None:
    more = [*SAME, *(text.format(bert=bert_folder) for text in overrides)]
    if overrides is TRANSFORMER:
        more.remove("encoder.term_dropout=0")
    one, three = tmp_path / "one", tmp_path / "three"
    xmc("train", *small(corpus, f"run={one}", *more))
    trained_by(3, *small(corpus, f"run={three}", *more))
    assert_same_but_for_sums(three, one)


@pytest.mark.slow
def test_killed_under_torchrun_they_end_the_same(corpus: Path, tmp_path: Path, by_two: Path) -> None:
    """As the undisturbed two, to the bit: torchrun starts both anew, and they go on from the last checkpoint."""
    run = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    arguments = small(corpus, f"run={run}", *SHORT, "trainer.log_every=1")
    with subprocess.Popen([*torchrun, *command("train", *arguments)[1:]], stderr=subprocess.PIPE, text=True) as job:
        for step in (10, 30):
            wait_for_step(run, step, [job])
            os.kill(int(json.loads((run / ".lock.json").read_text())["process"]), signal.SIGKILL)
            time.sleep(5)
        codes, told = ended([job])
    assert codes == [0], told
    assert told.count("resuming after step") == 2
    assert model_bytes(run) == model_bytes(by_two)


@pytest.mark.slow
def test_who_loses_another_tells_it_once(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = start(3, "train", *small(corpus, f"run={run}", *SAME, "trainer.log_every=1"))
    wait_for_step(run, 20, processes)
    processes[1].kill()
    codes, told = ended(processes)
    assert codes == [1, -signal.SIGKILL, 1]
    assert told.count("another process of the job has ended") == 1 and "Traceback" not in told


@pytest.mark.slow
def test_the_model_does_not_know_who_goes_on(corpus: Path, tmp_path: Path, xmc: Run, by_two: Path) -> None:
    """The first process of two exports what a single process exports of their last checkpoint, to the bit."""
    run = Path(shutil.copytree(by_two, tmp_path / "run"))
    shutil.rmtree(run / "model")
    for size in (1, 3):
        arguments = [f"run={run}", "resume=true"]
        xmc("train", *arguments) if size == 1 else trained_by(size, *arguments)
        assert model_bytes(run) == model_bytes(by_two)
        shutil.rmtree(run / "model")


def test_other_commands_are_for_one_process(monkeypatch: pytest.MonkeyPatch, xmc: Run, tmp_path: Path) -> None:
    job = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29511"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    many = ["train", "--multirun", "seed=0,1", f"run={tmp_path}"]
    for arguments in (["serve", f"run={tmp_path}"], ["finetune", f"run={tmp_path}"], many):
        told = xmc(*arguments, check=False)
        assert told.returncode == 1 and "leave torchrun out" in told.stderr.splitlines()[-1]


def measured(run: Path) -> Any:
    return json.loads((run / "metrics-test.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("divide", ["labels", "documents"])
def test_three_processes_rank_as_one(corpus: Path, tmp_path: Path, by_one: Path, xmc: Run, divide: str) -> None:
    """Documents in their order, their lists to the bit, errors in their places; the last turn is not for all."""
    run = Path(shutil.copytree(by_one, tmp_path / "run"))
    documents = tmp_path / "documents.jsonl"
    lines = (corpus / "test.jsonl").read_text().splitlines()
    documents.write_text("\n".join([*lines[:4], "{}", *lines[4:20], *8 * ["{}"], *lines[20:]]) + "\n")
    asked = [f"run={run}", f"input={documents}", "on_error=skip", "batch_size=4", "k=3", "threshold=0.01"]
    xmc("predict", *asked, f"output={tmp_path / 'one.jsonl'}")
    xmc("evaluate", f"run={run}", "batch_size=8")
    expected = measured(run)
    (run / "metrics-test.json").unlink()
    for arguments in (
        ["predict", *asked, f"output={tmp_path / 'three.jsonl'}", "resume=true"],
        ["evaluate", f"run={run}", "batch_size=8"],
    ):
        codes, told = ended(start(3, *arguments, f"divide={divide}"))
        assert codes == [0, 0, 0] and "Traceback" not in told, told
    assert (tmp_path / "three.jsonl").read_text() == (tmp_path / "one.jsonl").read_text()
    assert measured(run) == expected
    codes, told = ended(start(2, "predict", *asked, f"output={tmp_path / 'three.jsonl'}", "resume=true"))
    assert codes == [0, 0] and told.count("is finished, 60 documents") == 1


@pytest.mark.slow
def test_a_host_that_was_lost_comes_back(corpus: Path, tmp_path: Path) -> None:
    """Two network namespaces, a torchrun in each; the runs are compared to the bit."""
    script = Path(__file__).parents[2] / "scripts" / "two_hosts.py"
    arguments = small(corpus, *SHORT, "trainer.log_every=1")
    told = subprocess.run(
        [sys.executable, script, "--kill-at=25", tmp_path, *arguments], capture_output=True, text=True, timeout=500
    )
    if told.returncode == 77:
        pytest.skip(told.stderr.splitlines()[-1])
    assert told.returncode == 0, told.stdout + told.stderr
    assert "the runs are the same" in told.stdout and "resuming after step" in told.stderr


@pytest.mark.slow
def test_two_and_one_export_what_four_have_trained(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    """To the bit; that a checkpoint in mid-run goes on likewise is tested with threads, distributed/test_shared_run."""
    run = tmp_path / "run"
    trained_by(4, *small(corpus, f"run={run}", *SAME))
    expected = model_bytes(run)
    for size in (2, 1):
        shutil.rmtree(run / "model")
        arguments = [f"run={run}", "resume=true"]
        xmc("train", *arguments) if size == 1 else trained_by(size, *arguments)
        assert model_bytes(run) == expected
