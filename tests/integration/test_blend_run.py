"""blend, and what evaluate and predict make of it, as a user types them."""

import json
import shutil
from pathlib import Path

import pytest
from harness import Run, small
from test_bad_input import fails

WEAK = ("lexical=none", "auxiliary=none", "encoder.width=4", "classifier.fan_in=2", "trainer.max_steps=20")


@pytest.fixture(scope="module")
def runs(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    """A folder of two runs that have learned little, and of what the second one says of dev and test."""
    folder = tmp_path_factory.mktemp("blended")
    xmc("train", *small(corpus, f"run={folder / 'one'}", "seed=0", *WEAK))
    xmc("train", *small(corpus, f"run={folder / 'two'}", "seed=1", *WEAK))
    for split, form in (("dev", "jsonl"), ("test", "annif")):
        documents, output = f"input={corpus / split}.jsonl", f"output={folder / split}.jsonl"
        xmc("predict", f"run={folder / 'two'}", documents, output, "k=100", f"format={form}")
    return folder


def metrics(run: Path, split: str = "dev") -> dict[str, float]:
    found: dict[str, float] = json.loads((run / f"metrics-{split}.json").read_text())["metrics"]
    return found


def test_runs_and_neighbours(runs: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    run = tmp_path / "blend"
    one, two = runs / "one", runs / "two"
    told = xmc("blend", f"run={run}", f"runs=[{one},{two}]", f"neighbours={one}").stdout
    assert [line.split()[0] for line in told.splitlines()] == ["dev", "one", "two", "neighbours", "blend", "the"]
    assert ", the best alone: PSP@1 " in told.splitlines()[-1]
    members = json.loads((run / "members-dev.json").read_text())
    assert sum(member["weight"] for member in members) == pytest.approx(1)
    dev = metrics(run)
    assert dev["nDCG@5"] >= max(member["metrics"]["nDCG@5"] for member in members)
    for member, of in zip(members[:2], (one, two), strict=True):
        assert member["metrics"]["nDCG@5"] == pytest.approx(metrics(of)["nDCG@5"])
    kept = {member["name"] for member in members if member["weight"]}
    assert len(kept) > 1, "nothing is blended here"
    card = json.loads((run / "model" / "xmc.json").read_text())
    assert {member["name"] for member in card["members"]} == kept
    moved = Path(shutil.move(run, tmp_path / "moved"))  # on its own, wherever it lies
    xmc("evaluate", f"run={moved}", "split=dev")
    assert metrics(moved) == dev
    predicted = xmc("predict", f"run={moved}", f"input={corpus / 'test.jsonl'}", "k=3").stdout.splitlines()
    xmc("evaluate", f"run={moved}", "split=test")
    truth = [json.loads(line)["labels"] for line in (corpus / "test.jsonl").read_text().splitlines()]
    first = [json.loads(line)["labels"][0]["label"] for line in predicted]
    right = sum(label in labels for label, labels in zip(first, truth, strict=True)) / len(truth)
    assert right == pytest.approx(metrics(moved, "test")["P@1"])
    assert "is finished, nothing to do" in xmc("train", f"run={moved}", "resume=true").stderr
    for command in ("calibrate", "report"):
        assert "is a blend, which predict and evaluate take" in fails(xmc, command, f"run={moved}")
    assert "already holds a run" in fails(xmc, "blend", f"run={moved}", f"runs=[{one},{two}]")


def test_scores_of_another_tool(runs: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    run, both = tmp_path / "blend", tmp_path / "both"
    scores = [f"scores.tool.{split}={runs / split}.jsonl" for split in ("dev", "test")]
    told = xmc("blend", f"run={run}", f"runs={runs / 'one'}", *scores).stdout
    xmc("blend", f"run={both}", f"runs=[{runs / 'one'},{runs / 'two'}]")
    for split in ("dev", "test"):  # written scores are rounded
        for folder in (run, both):
            xmc("evaluate", f"run={folder}", f"split={split}")
        assert metrics(run, split)["nDCG@5"] == pytest.approx(metrics(both, split)["nDCG@5"], abs=0.01)
    assert "tool" in told
    documents = f"input={corpus / 'test.jsonl'}"
    assert "has scores of another tool (tool), which knows no new text" in fails(
        xmc, "predict", f"run={run}", documents
    )
    assert "the blend has no scores of tool for train" in fails(xmc, "evaluate", f"run={run}", "split=train")


def test_mistakes_of_blend(runs: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    def told(*given: str) -> str:
        message = fails(xmc, "blend", f"run={tmp_path / 'blend'}", *given)
        assert not (tmp_path / "blend").exists()
        return message.splitlines()[-1]

    one = f"runs={runs / 'one'}"
    assert "there is no file" in told(one, f"scores.x.dev={tmp_path / 'nowhere.jsonl'}")
    assert "there is no file" in told(one, f"scores.x.dev={runs / 'dev.jsonl'}", "scores.x.test=nowhere.jsonl")
    lines = (runs / "dev.jsonl").read_text()
    (tmp_path / "short.jsonl").write_text("".join(lines.splitlines(keepends=True)[:-1]))
    assert "has 59 documents, the split 60" in told(one, f"scores.x.dev={tmp_path / 'short.jsonl'}")
    (tmp_path / "ids.jsonl").write_text(lines.replace("topic7", "topic99"))
    assert "no label of the model is called 'topic99'" in told(one, f"scores.x.dev={tmp_path / 'ids.jsonl'}")
    unfinished = Path(shutil.copytree(runs / "two", tmp_path / "unfinished"))
    shutil.rmtree(unfinished / "model")
    assert "has no finished model" in told(f"runs=[{runs / 'one'},{unfinished}]")
    assert "nowhere holds no run" in told(f"runs=[{runs / 'one'},nowhere]")
    other = Path(shutil.copytree(runs / "two", tmp_path / "other"))
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace(str(corpus), str(tmp_path)))
    assert f"have other data (data.root: '{corpus}' and '{tmp_path}')" in told(f"runs=[{runs / 'one'},{other}]")
    (other / "config.yaml").write_text(config)
    labels = (other / "model" / "labels.jsonl").read_text()
    (other / "model" / "labels.jsonl").write_text(labels.replace("topic7", "topic99"))
    card = json.loads((other / "model" / "xmc.json").read_text())
    del card["files"], card["digest"]
    (other / "model" / "xmc.json").write_text(json.dumps(card))
    assert "have other labels (one of them alone has topic7, topic99)" in told(f"runs=[{runs / 'one'},{other}]")


def test_no_dev_split(runs: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    shutil.copytree(corpus, tmp_path / "data")
    (tmp_path / "data" / "dev.jsonl").unlink()
    run = Path(shutil.copytree(runs / "one", tmp_path / "run"))
    config = (run / "config.yaml").read_text().replace(str(corpus), str(tmp_path / "data"))
    (run / "config.yaml").write_text(config.replace("dev_fraction: 0.1", "dev_fraction: 0.0"))
    given = [f"run={tmp_path / 'blend'}", f"runs={run}", f"neighbours={run}"]
    assert "has no dev split (data.dev_fraction=0) to fit weights to" in fails(xmc, "blend", *given)
