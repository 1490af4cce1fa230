"""A model goes on learning where labels come and go."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import WORDS, Run, small
from test_resume import model_bytes

from xmc import XMCModel, factory
from xmc.config import load_run_config
from xmc.model.label_space import selected
from xmc.train.log import LocalLog, Record

TOPICS = [f"topic{t}" for t in range(12)]
FROZEN = ["encoder.embedding_lr=1e-12", "encoder.lr=1e-12", "classifier.optimizer.lr=1e-12", "sparsity=static"]
SHAPE = ("encoder.", "classifier.fan_in")  # the source decides these


def narrowed(corpus: Path, folder: Path, labels: list[str]) -> Path:
    """The corpus with these labels alone."""
    folder.mkdir()
    for path in corpus.glob("*.jsonl"):
        documents = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [d | {"labels": [label for label in d["labels"] if label in labels]} for d in documents]
        (folder / path.name).write_text("".join(json.dumps(d) + "\n" for d in kept if d["labels"]))
    return folder


def further(corpus: Path, *more: object) -> list[object]:
    """Overrides for a run from a trained model."""
    overrides = small(corpus, *more)
    return [o for o in overrides if not str(o).startswith(SHAPE)]


def adjustments(documents: Path, topics: list[str], tau: float) -> torch.Tensor:
    """What is added to the logit of each topic by its frequency in a file of documents."""
    labels = [json.loads(line)["labels"] for line in documents.read_text().splitlines()]
    counts = torch.tensor([sum(topic in of for of in labels) for topic in topics])
    return -tau * torch.log((counts + 0.5) / (len(labels) + 1))


@pytest.fixture(scope="module")
def sets(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Nine topics to begin with; then three of them are gone and three are new."""
    folder = tmp_path_factory.mktemp("sets")
    return narrowed(corpus, folder / "old", TOPICS[:9]), narrowed(corpus, folder / "new", TOPICS[3:])


@pytest.fixture(scope="module")
def sources(sets: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Callable[..., Path]:
    """The folder of a run on the old set, trained once for each choice of overrides."""
    folder, trained = tmp_path_factory.mktemp("sources"), dict[tuple[str, ...], Path]()

    def source(*overrides: str) -> Path:
        if overrides not in trained:
            trained[overrides] = folder / str(len(trained))
            xmc("train", *small(sets[0], f"run={trained[overrides]}", "trainer.epochs=2", *overrides))
        return trained[overrides]

    return source


def test_known_rows_are_taken_over(
    sets: tuple[Path, Path], sources: Callable[..., Path], tmp_path: Path, xmc: Run
) -> None:
    run = tmp_path / "run"
    xmc("finetune", f"from={sources()}", *small(sets[1], f"run={run}", "trainer.max_steps=1", *FROZEN))
    before, after = (XMCModel.from_pretrained(folder / "model") for folder in (sources(), run))
    assert after.label_ids == sorted(TOPICS[3:])
    known = [label for label in after.label_ids if label in before.label_ids]
    theirs, mine = (torch.tensor([m.label_ids.index(label) for label in known]) for m in (before, after))
    old, new = before.classifier.sparse, after.classifier.sparse
    assert old is not None and new is not None and len(known) == 6
    assert torch.equal(old.index[theirs], new.index[mine])
    assert torch.allclose(old.weight[theirs], new.weight[mine], atol=1e-6)
    assert torch.allclose(old.bias[theirs], new.bias[mine], atol=1e-6)
    text = ["word4a word5b word6c"]
    assert torch.allclose(before.encode(text), after.encode(text), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "ready"),
    [
        ([], 3),
        pytest.param(["classifier=dense", "classifier.optimizer.lr=5e-3"], 3, marks=pytest.mark.slow),
        (["classifier.head=0.3"], 2),  # one of them belongs to the head
    ],
    ids=["sparse", "dense", "head"],
)
def test_new_labels_learn_before_the_rest(
    sets: tuple[Path, Path], sources: Callable[..., Path], tmp_path: Path, xmc: Run, shape: list[str], ready: int
) -> None:
    def found(steps: int) -> int:
        run = tmp_path / str(steps)
        more = [f"run={run}", "lexical=none", "trainer.max_steps=1", f"new_labels.steps={steps}", *FROZEN]
        more += ["new_labels.documents=150"]
        source = sources("lexical=none", *shape)  # whose encoder does not know the words of the new topics
        done = xmc("finetune", f"from={source}", *further(sets[1], *more))
        assert ("new labels learn first, on the features of 150 documents" in done.stderr) == bool(steps)
        model = XMCModel.from_pretrained(run / "model")
        texts = [" ".join(WORDS[topic]) for topic in TOPICS[9:]]
        return sum(best[0].label == topic for best, topic in zip(model.predict(texts, k=1), TOPICS[9:], strict=True))

    assert found(0) < found(200) == ready


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["sparsity=topkast", "sparsity.refresh=5"], marks=pytest.mark.slow),
        pytest.param(["classifier=dense"], marks=pytest.mark.slow),
        ["replay_fraction=0.5"],
        [
            *("classifier.head=0.3", "intermediate=linear", "intermediate.width=24", "trainer.logit_adjustment=0.3"),
            *("sparsity=rigl", "sparsity.interval=5"),
        ],
    ],
    ids=" ".join,
)
def test_resumed_to_the_bit(
    sets: tuple[Path, Path],
    sources: Callable[..., Path],
    tmp_path: Path,
    xmc: Run,
    overrides: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = [o for o in overrides if not o.startswith(("sparsity", "replay"))]
    more = ["trainer.max_steps=12", "trainer.log_every=1", *(o for o in overrides if o not in shape)]
    if "replay_fraction=0.5" in overrides:
        more.append(f"replay={sources(*shape)}")
    start = [f"from={sources(*shape)}", "keep_labels=true", *further(sets[1], *more)]
    xmc("finetune", *start, f"run={tmp_path / 'whole'}")
    real = LocalLog.log

    def log_and_stop(self: LocalLog, record: Record) -> None:
        real(self, record)
        if record["step"] == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(LocalLog, "log", log_and_stop)
        stopped = xmc("finetune", *start, f"run={tmp_path / 'parts'}", check=False)
    assert f"go on with: xmc train run={tmp_path / 'parts'} resume=true" in stopped.stderr
    resumed = xmc("train", f"run={tmp_path / 'parts'}", "resume=true")
    assert "learn first" not in resumed.stderr
    assert model_bytes(tmp_path / "parts") == model_bytes(tmp_path / "whole")


def test_a_transformer_goes_on(
    sets: tuple[Path, Path], sources: Callable[..., Path], tmp_path: Path, xmc: Run, bert_folder: Path
) -> None:
    """With a bag beside it, sparse layers inside, and dropouts of its own."""
    encoder = ["encoder=transformer", f"encoder.name={bert_folder}", "encoder.max_length=16", "encoder.lexical.width=8"]
    inside = ["sparse_ift=wide", "sparse_ift.layers=[intermediate,encoder]", "intermediate=linear", "sparsity=rigl"]
    source = sources(*encoder, *inside, "intermediate.width=24", "trainer.max_steps=2")
    own = ["encoder.dropout=0.3", "encoder.lexical.term_dropout=0.1", "intermediate.dropout=0.2"]
    further_on = further(sets[1], f"run={tmp_path / 'run'}", "trainer.max_steps=2", "sparsity=rigl")
    xmc("finetune", f"from={source}", *further_on, *own)
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert f"name: {source / 'model' / 'encoder'}" in config and "kind: wide" in config and "dropout: 0.3" in config
    encoder_after = XMCModel.from_pretrained(tmp_path / "run" / "model").encoder
    assert encoder_after.lexical is not None and encoder_after.lexical.config.term_dropout == 0.1
    assert encoder_after.dropout.p == 0.3


def test_kept_labels_keep_their_rows(
    sets: tuple[Path, Path], sources: Callable[..., Path], tmp_path: Path, xmc: Run
) -> None:
    """Whether the new data does not know them at all, or has them in its vocabulary and no training document."""
    known = tmp_path / "known"
    narrowed(sets[1], known, TOPICS)
    (known / "labels.tsv").write_text("id\tname\n" + "".join(f"{topic}\tThe {topic}\n" for topic in TOPICS))
    source = sources("trainer.logit_adjustment=0.3")
    before = XMCModel.from_pretrained(source / "model")
    for data, name in ((sets[1], "plain"), (known, "vocabulary")):
        run = tmp_path / name
        xmc(
            "finetune",
            f"from={source / 'model'}",
            "keep_labels=true",
            *further(data, f"run={run}", "trainer.max_steps=1"),
        )
        after = XMCModel.from_pretrained(run / "model")
        assert sorted(after.label_ids) == sorted(TOPICS)
        assert after.lexical is not None and {after.label_ids[la] for la in after.lexical.labels} == {*TOPICS[3:]}
        rows = (torch.tensor([m.label_ids.index(topic) for topic in TOPICS[:3]]) for m in (before, after))
        kept, mine = (
            selected(m.classifier, labels).state_dict() for m, labels in zip((before, after), rows, strict=True)
        )
        assert "adjustment" in kept and all(torch.equal(kept[key], mine[key]) for key in kept)
        assert after.logit_adjustment == 0.3 and after.classifier.sparse is not None
        adjustment = after.classifier.sparse.adjustment
        assert adjustment is not None
        trained = adjustment[[after.label_ids.index(topic) for topic in TOPICS[3:]]]
        torch.testing.assert_close(trained, adjustments(data / "train.jsonl", TOPICS[3:], 0.3))
    xmc("evaluate", f"run={run}")
    assert json.loads((run / "metrics-test.json").read_text())["metrics"]["P@1"] > 0.5


def test_what_the_source_decides(
    sets: tuple[Path, Path], sources: Callable[..., Path], tmp_path: Path, xmc: Run
) -> None:
    contradiction = ["encoder.width=64", "classifier=dense", "encoder.dropout=0.1", "encoder.max_length=512"]
    contradiction.append("trainer.logit_adjustment=0.2")
    refused = xmc("finetune", f"from={sources()}", *further(sets[1]), *contradiction, check=False)
    assert refused.returncode == 1 and not refused.stdout
    assert "  encoder.width: the model has 32, now given 64\n" in refused.stderr
    assert "  classifier: the model has 'fixed_fan_in', now given 'dense'\n" in refused.stderr
    assert "  trainer.logit_adjustment: the model has 0.0, now given 0.2\n" in refused.stderr
    assert "dropout" not in refused.stderr and "max_length" not in refused.stderr
    refused = xmc("finetune", f"from={tmp_path}", *further(sets[1]), check=False)
    assert f"{tmp_path} holds no model" in refused.stderr
    grouped = sources("classifier.group_size=2")
    refused = xmc("finetune", f"from={grouped}", *further(sets[1]), check=False)
    assert "share their connections in groups" in refused.stderr


def test_what_is_forgotten_is_told_and_can_be_mended(
    sets: tuple[Path, Path], sources: Callable[..., Path], tmp_path: Path, xmc: Run
) -> None:
    def tuned(name: str, *more: str) -> tuple[Path, dict[str, dict[str, dict[str, float]]], str]:
        run = tmp_path / name
        done = xmc("finetune", f"from={sources()}", *further(sets[1], f"run={run}", "trainer.epochs=3", *more))
        values = json.loads((run / "finetuned-dev.json").read_text())
        for data in ("new data", "old data"):
            for when in ("before", "after"):
                figures = [f"{100 * values[data][when][m]:.2f}" for m in ("P@1", "P@3", "P@5", "nDCG@5")]
                assert [*f"{data}, {when}".split(), *figures] in [line.split() for line in done.stdout.splitlines()]
        return run, values, done.stderr

    _, alone, told = tuned("alone")
    assert alone["new data"]["after"]["P@1"] > alone["new data"]["before"]["P@1"]
    assert alone["old data"]["after"]["P@1"] < alone["old data"]["before"]["P@1"] - 0.1
    remedy = f"replay={sources()}"
    assert f"on old data P@1 fell from {100 * alone['old data']['before']['P@1']:.2f} to " in told and remedy in told

    run, mended, told = tuned("mended", remedy)
    assert mended["old data"]["before"] == alone["old data"]["before"]
    assert mended["old data"]["after"]["P@1"] > alone["old data"]["after"]["P@1"] + 0.1 and "fell from" not in told
    assert sorted(XMCModel.from_pretrained(run / "model").label_ids) == sorted(TOPICS)
    xmc("evaluate", f"run={run}")
    many = [len((folder / "test.jsonl").read_text().splitlines()) for folder in sets]
    assert json.loads((run / "metrics-test.json").read_text())["documents"] == sum(many)


def test_where_old_documents_are(
    sets: tuple[Path, Path], sources: Callable[..., Path], tmp_path: Path, xmc: Run
) -> None:
    def started(name: str, *more: str, check: bool = True) -> str:
        steps = [f"run={tmp_path / name}", "trainer.max_steps=1", *more]
        return xmc("finetune", *further(sets[1], *steps), check=check).stderr

    shutil.copytree(sources() / "model", tmp_path / "model")
    told = started("bare", f"from={tmp_path / 'model'}")
    assert "is a model without its run, so that what it forgot is not known; replay=<folder" in told
    assert list(json.loads((tmp_path / "bare" / "finetuned-dev.json").read_text())) == ["new data"]
    started("data", f"from={tmp_path / 'model'}", f"replay={sets[0]}")
    assert list(json.loads((tmp_path / "data" / "finetuned-dev.json").read_text())) == ["new data", "old data"]
    told = started("none", f"from={sources()}", f"replay={tmp_path / 'nowhere'}", check=False)
    assert "nowhere is neither a run nor a folder of data" in told
    started("again", f"from={tmp_path / 'data'}", f"replay={tmp_path / 'data'}")
    unreadable = Path(shutil.copytree(sources(), tmp_path / "unreadable"))
    (unreadable / "config.yaml").write_text("a: [")
    assert "what the model forgets of its old data is not measured" in started("unread", f"from={unreadable}")
    assert "config.yaml" in started("refused", f"from={sources()}", f"replay={unreadable}", check=False)
    assert "replay1:" in str(factory.load_corpus(load_run_config(str(tmp_path / "again"))).split("train").ids[-1])


def test_texts_are_read_from_the_fields_of_training(
    sets: tuple[Path, Path], sources: Callable[..., Path], tmp_path: Path, xmc: Run
) -> None:
    source = sources("data.text_fields=[id,text]", "data.text_separator= - ")
    shown = xmc("finetune", f"from={source}", *further(sets[1], "--cfg=job"), cwd=tmp_path).stdout
    assert "text_fields:\n  - id\n  - text\n" in shown and "text_separator: ' - '" in shown
    other = xmc(
        "finetune", f"from={source}", *further(sets[1], "--cfg=job", "data.text_fields=text"), cwd=tmp_path
    ).stdout
    assert "text_fields: text" in other or "text_fields:\n  - text\n" in other
