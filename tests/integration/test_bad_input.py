"""Mistakes end in one clear error: what was given, what was expected, the way out - and nothing is lost."""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import Run, command, small, write_corpus

from xmc.train.tensor_writer import write_tensors


def fails(xmc: Run, *arguments: object, **kwargs: object) -> str:
    done = xmc(*arguments, check=False, **kwargs)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def unfinished(trained: Path, folder: Path) -> Path:
    """A copy of a run as if it had been interrupted before its end."""
    run = copied(trained, folder)
    shutil.rmtree(run / "model")
    return run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "run=x", "input=in.jsonl", "output=x.tsv"], "output=x.tsv: no format of predictions has names in"),
        (["predict", "run=x", "input=in.jsonl", "output="], "output= is empty; give a file to write, or - for"),
        (["trian"], "'trian' is no command of xmc; did you mean 'train'?"),
        (["train", "trainer.bach_size=3"], "trainer.bach_size: unknown key; did you mean 'trainer.batch_size'?"),
        (["train", "trainer.batch_size=0"], "trainer.batch_size: got 0"),
        (["train", "loss=bse"], "loss: got 'bse'; did you mean 'bce'?"),
        (["train", "classifier=dens"], "classifier: got 'dens'; did you mean 'dense'?"),
        (["train", "classifier/optimizer=sdg"], "classifier/optimizer: got 'sdg'; did you mean 'sgd'?"),
        (["train", "experiment=[set,denes]"], "experiment: got 'denes'; did you mean 'dense'?"),
        (["train", "auxiliary=null"], "auxiliary: got 'null'; did you mean 'none'?"),
        (["train", "hydra.run.dir=nowhere"], "hydra.run.dir: no setting of xmc; of Hydra's own"),
        (["train", "data=jsonl"], "a value is missing: give data.root=..."),
        (["train", "trainer.metric=Q@1"], "unknown metric 'Q@1'"),
        (["train", "trainer.device=tpu9"], "trainer.device: got 'tpu9'; give auto, cpu, cuda"),
        (["evaluate"], "a value is missing: give run=..."),
        (["evaluate", "run=nowhere"], "nowhere holds no run"),
        (["train", "run=nowhere", "resume=true"], "nowhere holds no run"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_command_line(xmc: Run, tmp_path: Path, arguments: list[str], told: str) -> None:
    assert told in fails(xmc, *arguments, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_fan_in_beyond_the_features(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    error = fails(xmc, "train", *small(corpus, f"run={tmp_path / 'run'}", "classifier.fan_in=33"))
    assert "classifier.fan_in=33 exceeds the 32 features" in error


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["sparsity=topkast", "classifier.group_size=4"],
            "sparsity=topkast chooses by label; set classifier.group_size=1",
        ),
        (["classifier.head=0.99"], "classifier.head=0.99 leaves no label to the sparse tail"),
        (["trainer.precision=bfloat16"], "trainer.precision=bfloat16 needs a GPU, and the device is cpu"),
        (["sparsity=rigl", "sparsity.candidates=some"], "sparsity.candidates: got 'some'"),
    ],
)
def test_parts_that_do_not_fit(corpus: Path, tmp_path: Path, xmc: Run, overrides: list[str], told: str) -> None:
    run = tmp_path / "run"
    assert told in fails(xmc, "train", *small(corpus, f"run={run}", *overrides))
    assert not run.exists()


def test_a_run_is_not_overwritten(corpus: Path, trained: Path, xmc: Run) -> None:
    error = fails(xmc, "train", *small(corpus, f"run={trained}"))
    assert "already holds a run" in error
    assert "resume=true" in error


def test_resume_with_another_value(trained: Path, xmc: Run) -> None:
    error = fails(xmc, "train", f"run={trained}", "resume=true", "classifier.fan_in=9")
    assert "classifier.fan_in: the run has 8, now given 9" in error


def test_a_run_goes_on_where_its_data_moved(trained: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    run, moved = unfinished(trained, tmp_path), shutil.copytree(corpus, tmp_path / "moved corpus")
    path = run / "config.yaml"
    path.write_text(path.read_text().replace(str(corpus), str(tmp_path / "gone")))
    resume = ("train", f"run={run}", "resume=true")
    assert "gone" in fails(xmc, *resume)
    assert "data.rot: unknown key; did you mean 'data.root'?" in fails(xmc, *resume, f"data.rot={moved}")
    xmc(*resume, f"data.root={moved}")
    assert (run / "model").is_dir()


def test_the_working_directory_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    leave = f"cd {tmp_path}/gone; rmdir ../gone; {shlex.join(command('train', 'data=pydoc'))}"
    done = subprocess.run(["sh", "-c", leave], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "xmc train: the working directory is no longer there; change into another\n"


def test_resume_with_another_config_file(trained: Path, tmp_path: Path, xmc: Run) -> None:
    run = unfinished(trained, tmp_path)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("fan_in: 8", "fan_in: 9"))
    assert "was written with another configuration" in fails(xmc, "train", f"run={run}", "resume=true")


def test_resume_from_a_damaged_checkpoint(trained: Path, tmp_path: Path, xmc: Run) -> None:
    run = unfinished(trained, tmp_path)
    newest, older = sorted((run / "checkpoints").glob("step-*"))[::-1]
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    error = fails(xmc, "train", f"run={run}", "resume=true")
    assert f"{newest} is damaged" in error
    assert f"delete {newest} to go on from the previous one, {older}" in error
    shutil.rmtree(newest)
    xmc("train", f"run={run}", "resume=true")


def test_unfinished_model(trained: Path, tmp_path: Path, xmc: Run) -> None:
    run = unfinished(trained, tmp_path)
    assert "has no finished model; go on with: " in fails(xmc, "evaluate", f"run={run}")


def test_prediction_input_with_a_broken_line(trained: Path, tmp_path: Path, xmc: Run) -> None:
    documents, output = tmp_path / "docs.jsonl", tmp_path / "pred.jsonl"
    documents.write_text('{"text": "word1a"}\n{"text": \n')
    error = fails(xmc, "predict", f"run={trained}", f"input={documents}", f"output={output}")
    assert f"{documents}:2" in error
    assert [p.name for p in tmp_path.iterdir()] == ["docs.jsonl"], "no half-written output"


def test_prediction_input_with_an_empty_text(trained: Path, tmp_path: Path, xmc: Run) -> None:
    documents, output = tmp_path / "docs.jsonl", tmp_path / "pred"
    texts = ["word1a word1b", "", "word2a"]
    documents.write_text("".join(json.dumps({"id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    arguments = ["predict", f"run={trained}", f"input={documents}", f"output={output}"]
    error = fails(xmc, *arguments)
    assert f"{documents}:2: empty text" in error and "on_error=skip leaves out such documents" in error
    told = xmc(*arguments, "on_error=skip").stderr
    assert f"skipped: {documents}:2: empty text" in told and f"{documents}: skipped 1 of 3 documents" in told
    assert [json.loads(line)["id"] for line in output.read_text().splitlines()] == ["d0", "d2"]
    xmc(*arguments, "on_error=skip", "format=scores", "k=1")
    header, first, skipped, last = output.read_text().split("\n")[:4]
    assert (header, skipped) == ("3 12", "") and first and last


def test_examples_with_an_empty_text(trained: Path, tmp_path: Path, xmc: Run) -> None:
    examples = tmp_path / "new.csv"
    examples.write_text("text,labels\nnew words,newtopic\n,newtopic\nother new words,newtopic\n")
    arguments = ["add-labels", f"run={trained}", f"input={examples}", f"output={tmp_path / 'more'}", "steps=2"]
    assert "on_error=skip leaves out such documents" in fails(xmc, *arguments)
    assert f"{examples}: skipped 1 of 3 documents" in xmc(*arguments, "on_error=skip", "negatives=10").stderr
    assert (tmp_path / "more").is_dir()


def test_prediction_input_without_the_text_field(trained: Path, tmp_path: Path, xmc: Run) -> None:
    documents = tmp_path / "docs.jsonl"
    documents.write_text(json.dumps({"txt": "word1a"}) + "\n")
    error = fails(xmc, "predict", f"run={trained}", f"input={documents}")
    assert f"{documents}:1" in error
    assert "txt" in error


def test_evaluation_on_changed_labels(trained: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    run = copied(trained, tmp_path)
    write_corpus(tmp_path / "other")
    labels = tmp_path / "other" / "labels.tsv"
    labels.write_text(labels.read_text() + "extra\tAnother\n")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(corpus), str(tmp_path / "other")))
    error = fails(xmc, "evaluate", f"run={run}")
    assert "are no longer those that" in error and "new, and without a document, are extra" in error


@pytest.fixture
def moved(trained: Path, corpus: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of a run and a copy of its data, which it points to."""
    run, data = copied(trained, tmp_path), Path(shutil.copytree(corpus, tmp_path / "data"))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(corpus), str(data)))
    return run, data


def relabel(data: Path, split: str, label: str, count: int) -> None:
    """Give the first documents of a split this label beside their own."""
    lines = [json.loads(line) for line in (data / f"{split}.jsonl").read_text().splitlines()]
    for document in lines[:count]:
        document["labels"].append(label)
    (data / f"{split}.jsonl").write_text("".join(json.dumps(document) + "\n" for document in lines))


def test_a_label_that_came_into_test_after_training(moved: tuple[Path, Path], xmc: Run) -> None:
    run, data = moved

    def recall(split: str) -> float:
        return float(json.loads((run / f"metrics-{split}.json").read_text())["metrics"]["R@5"])

    xmc("evaluate", f"run={run}", "split=test")
    xmc("evaluate", f"run={run}", "split=dev")
    before = {split: recall(split) for split in ("dev", "test")}
    relabel(data, "test", "newcomer", 30)
    refused = fails(xmc, "evaluate", f"run={run}", "split=test")
    assert "has the label 'newcomer', which is not in" in refused and "add it there" in refused
    (data / "labels.tsv").write_text((data / "labels.tsv").read_text() + "newcomer\tNew\n")
    for split in ("dev", "test"):
        told = xmc("evaluate", f"run={run}", f"split={split}").stderr
        assert "test: the model does not know labels of 30 documents" in told and "cannot be found: newcomer" in told
    assert recall("dev") == before["dev"]
    assert 0.6 * before["test"] < recall("test") < 0.9 * before["test"], "it is missing from 30 of 60 documents"
    xmc("calibrate", f"run={run}", "k=5", "per_label=true")
    xmc("evaluate", f"run={run}", "split=test")
    xmc("report", f"run={run}", "split=test")


def test_a_label_that_came_into_train_after_training(moved: tuple[Path, Path], xmc: Run) -> None:
    run, data = moved
    relabel(data, "train", "newcomer", 3)
    (data / "labels.tsv").unlink()
    error = fails(xmc, "evaluate", f"run={run}", "split=dev")
    assert "no longer those that" in error and "train has now newcomer. Restore the data, or train anew" in error


def test_a_label_that_left_the_data_after_training(moved: tuple[Path, Path], xmc: Run) -> None:
    run, data = moved
    for split in ("train", "dev", "test"):
        path = data / f"{split}.jsonl"
        path.write_text(path.read_text().replace('"topic3"', '"topic4"'))
    (data / "labels.tsv").unlink()
    assert "the data lacks now topic3. Restore" in fails(xmc, "evaluate", f"run={run}", "split=dev")


def test_full_disk(xmc: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint before stays, and the run goes on from it once there is room."""
    written = []

    def write(path: Path, *arguments: Any) -> None:
        if len(written) > 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write_tensors(path, *arguments)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("xmc.train.checkpoint.write_tensors", write)
        told = fails(xmc, "train", *small(corpus, f"run={run}", "trainer.max_steps=12", "trainer.checkpoint_every=4"))
    assert "the disk is full" in told and f"go on with: xmc train run={run} resume=true" in told
    assert "resuming after step 4" in xmc("train", f"run={run}", "resume=true").stderr
    assert (run / "model").is_dir()


def test_interrupted_before_the_first_step(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    arguments = small(corpus, f"run={tmp_path / 'run'}", "trainer.max_steps=2")
    for part, way_on in (
        ("factory.load_corpus", "give the command again"),
        ("workflow.training.LocalLog", f"go on with: xmc train run={tmp_path / 'run'} resume=true"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"xmc.{part}", stop)
            done = xmc("train", *arguments, check=False)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (130, f"interrupted; {way_on}")
    assert "no checkpoint yet" in xmc("train", f"run={tmp_path / 'run'}", "resume=true").stderr


def test_help_nobody_reads() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command("train", "--help"), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE and b"Traceback" not in done.stderr


def test_output_nobody_reads(trained: Path, tmp_path: Path) -> None:
    """As when piped into `head`: no traceback, and the figures are written all the same."""
    run = copied(trained, tmp_path)
    (run / "metrics-test.json").unlink(missing_ok=True)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command("evaluate", f"run={run}", "split=test"), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE and b"Traceback" not in done.stderr
    assert (run / "metrics-test.json").is_file()
