"""New labels come to a trained model, which otherwise stays as it is."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from harness import Run, small
from test_finetune import TOPICS, adjustments, narrowed

from xmc import XMCModel
from xmc.model.label_space import selected
from xmc.storage import locked

NEW = TOPICS[9:]


@pytest.fixture(scope="module")
def source(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run, request: pytest.FixtureRequest) -> Path:
    """A run that does not know three of the topics."""
    choice = {"fixed_fan_in": [], "dense": ["classifier=dense"], "head_and_tail": ["classifier.head=0.3"]}
    folder = tmp_path_factory.mktemp("source")
    data = narrowed(corpus, folder / "data", TOPICS[:9])
    xmc("train", *small(data, f"run={folder / 'run'}", "trainer.epochs=3", *choice[request.param]))
    return folder / "run"


@pytest.fixture(scope="module")
def examples(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten documents of each new topic, with an old label among their labels now and then, and the topics' names."""
    folder = tmp_path_factory.mktemp("examples")
    documents = [json.loads(line) for line in (corpus / "train.jsonl").read_text().splitlines()]
    chosen = {d["id"]: d for topic in NEW for d in [d for d in documents if topic in d["labels"]][:10]}
    (folder / "new.jsonl").write_text("".join(json.dumps(d) + "\n" for d in chosen.values()))
    (folder / "names.tsv").write_text("id\tname\n" + "".join(f"{topic}\tNew {topic}\n" for topic in NEW))
    return folder


def scores(model: XMCModel, texts: list[str]) -> dict[str, list[float]]:
    """Logits of every text by label."""
    ranked = [{p.label: p.logit for p in one} for one in model.predict(texts, k=len(model.label_ids))]
    return {label: [one[label] for one in ranked] for label in model.label_ids}


@pytest.mark.parametrize("source", ["fixed_fan_in", "dense", "head_and_tail"], indirect=True)
def test_new_labels_are_found_and_old_scores_stay(
    source: Path, examples: Path, corpus: Path, tmp_path: Path, xmc: Run
) -> None:
    output = tmp_path / "model"
    wanted = [f"input={examples / 'new.jsonl'}", f"names={examples / 'names.tsv'}", f"output={output}"]
    told = xmc("add-labels", f"run={source}", *wanted, "threads=1")
    assert "3 new labels" in told.stderr
    before, after = XMCModel.from_pretrained(source / "model"), XMCModel.from_pretrained(output)
    assert after.label_ids == [*before.label_ids, *sorted(NEW)]
    assert after.label_names[-1].startswith("New ")
    documents = [json.loads(line) for line in (corpus / "test.jsonl").read_text().splitlines()]
    texts = [d["text"] for d in documents]
    old, now = scores(before, texts), scores(after, texts)
    for label in before.label_ids:  # matrix products of another shape round otherwise; the sparse op does not
        assert now[label] == (pytest.approx(old[label], abs=1e-5) if before.classifier.kind == "dense" else old[label])
    rows = torch.arange(len(before.label_ids))
    kept, mine = before.state_dict(), after.state_dict()
    assert all(torch.equal(kept[key], mine[key]) for key in kept if not key.startswith("classifier."))
    kept, mine = (selected(model.classifier, rows).state_dict() for model in (before, after))
    assert all(torch.equal(kept[key], mine[key]) for key in kept)
    added = selected(after.classifier, torch.arange(len(rows), len(after.label_ids)))
    chosen = [after.label_ids[len(rows) + i] for i in added.topk(after.encode(texts), 1).labels.flatten().tolist()]
    found = [label in d["labels"] for label, d in zip(chosen, documents, strict=True) if set(d["labels"]) & set(NEW)]
    assert sum(found) > 0.6 * len(found) > 10  # of three; most sampled documents of a new topic count against it
    again_file = tmp_path / "predictions.jsonl"
    xmc("predict", f"run={output}", f"input={corpus / 'test.jsonl'}", f"output={again_file}", "k=1")
    assert len(again_file.read_text().splitlines()) == len(texts)


@pytest.mark.parametrize("source", ["fixed_fan_in"], indirect=True)
def test_a_model_without_its_data(source: Path, examples: Path, tmp_path: Path, xmc: Run) -> None:
    wanted = [f"input={examples / 'new.jsonl'}", f"output={tmp_path / 'model'}"]
    told = xmc("add-labels", f"run={source / 'model'}", *wanted)
    assert "0 negatives of the run's data" in told.stderr
    assert XMCModel.from_pretrained(tmp_path / "model").label_names[-1] in NEW
    assert "exists already" in xmc("add-labels", f"run={source}", *wanted, check=False).stderr
    wanted = [f"input={examples / 'new.jsonl'}", f"output={tmp_path / 'other'}"]
    told = xmc("add-labels", f"run={tmp_path / 'model'}", *wanted, check=False)
    assert told.returncode == 1 and "has no label that" in told.stderr


@pytest.mark.parametrize("source", ["fixed_fan_in"], indirect=True)
def test_one_process_makes_a_model(source: Path, examples: Path, tmp_path: Path, xmc: Run) -> None:
    arguments = ["add-labels", f"run={source}", f"input={examples / 'new.jsonl'}", f"output={tmp_path / 'more'}"]
    with locked(tmp_path, name="more.lock"):
        told = xmc(*arguments, check=False)
    assert told.returncode == 1 and "is in use by process" in told.stderr and not (tmp_path / "more").exists()
    xmc(*arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["more"]


@pytest.mark.parametrize("source", ["fixed_fan_in"], indirect=True)
def test_new_labels_are_adjusted_as_the_others_are(source: Path, examples: Path, tmp_path: Path, xmc: Run) -> None:
    adjusted = tmp_path / "adjusted"
    shutil.copytree(source / "model", adjusted)
    card = json.loads((adjusted / "xmc.json").read_text())
    changed = {key: value for key, value in card.items() if key not in ("files", "digest")} | {"logit_adjustment": 0.3}
    (adjusted / "xmc.json").write_text(json.dumps(changed))
    xmc("add-labels", f"run={adjusted}", f"input={examples / 'new.jsonl'}", f"output={tmp_path / 'more'}")
    more = XMCModel.from_pretrained(tmp_path / "more")
    assert more.logit_adjustment == 0.3 and more.classifier.sparse is not None
    adjustment = more.classifier.sparse.adjustment
    assert adjustment is not None
    expected = adjustments(examples / "new.jsonl", sorted(NEW), 0.3)
    torch.testing.assert_close(adjustment, torch.cat([torch.zeros(len(more.label_ids) - len(NEW)), expected]))
