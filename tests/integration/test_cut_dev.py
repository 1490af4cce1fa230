"""A run whose dev was cut from train: all of it learns in the end, and what is measured on dev has not seen it."""

import json
import shutil
from pathlib import Path

import pytest
from harness import Run, small

from xmc.model import XMCModel
from xmc.model.lexical import LexicalHalf
from xmc.model.lexical_file import load_apart


@pytest.fixture(scope="module")
def data(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cut") / "data"
    shutil.copytree(corpus, folder)
    (folder / "dev.jsonl").unlink()
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    folder = tmp_path_factory.mktemp("cut") / "run"
    xmc("train", *small(data, f"run={folder}", "lexical=tree", "trainer.max_steps=1", "classifier.optimizer.lr=1e-9"))
    return folder


def halves(run: Path) -> tuple[LexicalHalf, LexicalHalf]:
    model = XMCModel.from_pretrained(run / "model")
    assert model.lexical is not None
    return model.lexical, load_apart(run / "without-dev", len(model.label_ids))


def test_the_model_has_learned_from_all(run: Path, data: Path) -> None:
    last, first = halves(run)
    assert last.saw_dev and not first.saw_dev
    assert last.coefficients.equal(first.coefficients)
    documents = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    names = len(last.labels)
    assert int(last.counts.sum()) == sum(len(document["labels"]) for document in documents) + names
    assert int(first.counts.sum()) < int(last.counts.sum())


def test_figures_on_dev_are_those_of_the_half_that_has_not_seen_it(run: Path, xmc: Run) -> None:
    before = json.loads((run / "metrics-dev.json").read_text())
    xmc("evaluate", f"run={run}", "split=dev")
    assert json.loads((run / "metrics-dev.json").read_text()) == before
    assert "too good" not in xmc("evaluate", f"run={run}", "split=dev").stderr


def test_calibration_leaves_the_model_as_it_is(run: Path, tmp_path: Path, xmc: Run) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    xmc("calibrate", f"run={copy}")
    assert XMCModel.from_pretrained(copy / "model").calibration is not None
    assert (copy / "model" / "lexical.safetensors").read_bytes() == (run / "model" / "lexical.safetensors").read_bytes()
    shutil.rmtree(copy / "without-dev")
    told = xmc("evaluate", f"run={copy}", "split=dev").stderr
    assert "has learned from the dev documents, of which its figures are too good" in told


def test_a_blend_weighs_what_has_not_seen_dev_and_saves_what_has(run: Path, tmp_path: Path, xmc: Run) -> None:
    blend = tmp_path / "blend"
    xmc("blend", f"runs=[{run}]", "neighbours=" + str(run), f"run={blend}")
    members = json.loads((blend / "members-dev.json").read_text())
    metrics = json.loads((run / "metrics-dev.json").read_text())["metrics"]
    assert members[0]["metrics"]["P@1"] == pytest.approx(metrics["P@1"])
    saved = XMCModel.from_pretrained(blend / "model" / "models" / "0")
    assert saved.lexical is not None and saved.lexical.saw_dev
    assert "too good" in xmc("evaluate", f"run={blend}", "split=dev").stderr


def test_a_run_with_dev_of_its_own_learns_once(trained: Path) -> None:
    assert not (trained / "without-dev").exists()
    half = XMCModel.from_pretrained(trained / "model").lexical
    assert half is None or not half.saw_dev
