"""A data format that another package adds: chosen, explained, trained on and read again like xmc's own."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import command, small

PACKAGE = Path(__file__).parent / "toy_reader"
"""As it lies where pip installs it."""


def run(*arguments: object, installed: bool = True) -> subprocess.CompletedProcess[str]:
    paths = [*([str(PACKAGE)] if installed else []), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(command(*arguments), env=environment, capture_output=True, text=True)


@pytest.fixture
def toy(corpus: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    folder.mkdir()
    for split in ("train", "test"):
        records = map(json.loads, (corpus / f"{split}.jsonl").read_text().splitlines())
        lines = [f"{' '.join(record['labels'])}: {record['text']}\n" for record in records]
        (folder / f"{split}.toy").write_text("no sign of labels\n" + "".join(lines))
    return folder


def test_a_reader_of_another_package(toy: Path, tmp_path: Path) -> None:
    helped = run("train", "data=toy", "--help")
    assert "synthetic, toy, tsv" in helped.stdout and "# between labels and text" in helped.stdout
    mistyped = run("train", "data=toy", "data.sing=x")
    assert "data.sing: unknown key; did you mean 'data.sign'?" in mistyped.stderr
    data, of_run = ["data=toy", f"data.root={toy}", f"data.cache_dir={tmp_path / 'cache'}"], f"run={tmp_path / 'run'}"
    assert "train.toy:1: expected `labels: text`" in run("prepare", *data).stderr
    short = ["data.on_error=skip", "lexical=none", "trainer.max_steps=20", of_run]
    trained = run("train", *small(toy, *data, *short))
    assert trained.returncode == 0, trained.stderr
    evaluated = run("evaluate", of_run)
    assert evaluated.returncode == 0 and "60 documents" in evaluated.stdout, evaluated
    assert "data.kind: got 'toy'" in run("evaluate", of_run, installed=False).stderr
