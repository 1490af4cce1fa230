"""train, evaluate and predict as a user types them."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import Run, small
from safetensors.torch import load_file
from transformers import BertModel

from xmc import XMCError, XMCModel
from xmc.commands import predict
from xmc.commands.predict import PredictConfig
from xmc.config import parse
from xmc.config.compose import compose
from xmc.workflow import run_folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_run_folder(trained: Path) -> None:
    assert {p.name for p in trained.iterdir()} == {
        "config.yaml",
        "log.jsonl",
        "checkpoints",
        "model",
        "metrics-dev.json",
    }
    log = lines(trained / "log.jsonl")
    steps = [r for r in log if "loss" in r]
    assert [r["step"] for r in steps] == list(range(10, 201, 10))
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    assert sum(r["grown"] for r in steps) == sum(r["dropped"] for r in steps) > 0
    needed = {"lr/encoder", "lr/classifier", "documents_per_second", "tokens_per_second", "peak_memory_mib"}
    assert all(needed <= r.keys() for r in steps)
    assert any("dev/P@1" in r for r in log)


def test_the_words_are_learned_once(
    trained: Path, corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(*_: object) -> None:
        raise AssertionError("learned anew")

    monkeypatch.setattr("xmc.model.word_tokenizer.WordTokenizer.learned", learn)
    run = tmp_path / "run"
    xmc("train", *small(corpus, f"run={run}", "trainer.max_steps=1"))
    file = "model/encoder/tokenizer.json"
    assert (run / file).read_bytes() == (trained / file).read_bytes()
    with pytest.raises(AssertionError, match="learned anew"):
        other = [f"run={tmp_path / 'other'}", "trainer.max_steps=1", "lexical.words=0", "encoder.vocab_size=20"]
        xmc("train", *small(corpus, *other))


def test_without_dev_data_the_last_model_is_kept(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    folder, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(corpus, folder)
    (folder / "dev.jsonl").unlink()
    overrides = small(folder, f"run={run}", "data.dev_fraction=0", "trainer.epochs=4")
    refused = xmc("train", *overrides, "trainer.patience=2", check=False)
    assert "trainer.patience=2 needs a dev split" in refused.stderr
    done = xmc("train", *overrides)
    assert "last model -> " in done.stderr
    assert not (run / "metrics-dev.json").exists()
    assert not any("dev/P@1" in r for r in lines(run / "log.jsonl"))
    assert [p.name for p in (run / "checkpoints").iterdir() if p.name.startswith("best")] == []
    xmc("evaluate", f"run={run}", "split=test")
    assert json.loads((run / "metrics-test.json").read_text())["metrics"]["P@1"] > 0.9
    assert "dev" in xmc("evaluate", f"run={run}", "split=dev", check=False).stderr
    told = xmc("report", f"run={run}", "split=dev", check=False).stderr
    assert told.endswith("has no dev split; split=... takes train or test\n") and not list(run.glob("*.html"))


def test_the_figures_on_dev_are_those_of_the_saved_model(trained: Path, xmc: Run) -> None:
    """Its table is rounded before it is measured."""
    assert load_file(trained / "model/encoder/model.safetensors")["table"].dtype == torch.int8
    before = json.loads((trained / "metrics-dev.json").read_text())
    xmc("evaluate", f"run={trained}", "split=dev")
    assert json.loads((trained / "metrics-dev.json").read_text()) == before


def test_a_recipe_can_say_something_first(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    told = xmc("train", *small(corpus, f"run={tmp_path / 'run'}", "trainer.max_steps=1", "caution=beware")).stderr
    assert "caution: beware\n" in told


def test_evaluate(trained: Path, xmc: Run) -> None:
    done = xmc("evaluate", f"run={trained}", "split=test")
    report = json.loads((trained / "metrics-test.json").read_text())
    assert report["metrics"]["P@1"] > 0.9
    assert f"{100 * report['metrics']['P@1']:.2f}" in done.stdout


def test_figures_of_documents_have_the_means_that_are_reported(
    trained: Path, corpus: Path, tmp_path: Path, xmc: Run
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")))
    xmc("evaluate", f"run={run}", "split=test", "documents=true")
    documents, truth = lines(run / "documents-test.jsonl"), lines(corpus / "test.jsonl")
    assert [(d["id"], d["labels"]) for d in documents] == [(t["id"], len(t["labels"])) for t in truth]
    metrics = json.loads((run / "metrics-test.json").read_text())["metrics"]
    for name in (f"{family}@{k}" for family in ("P", "R", "F1", "nDCG") for k in (1, 3, 5)):
        assert sum(d[name] for d in documents) / len(documents) == pytest.approx(metrics[name], abs=1e-6)
    assert metrics["F1@1"] > metrics["F1@5"] > 0  # documents have a label or two


def test_predict_from_file_to_file(trained: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    output = tmp_path / "pred.jsonl"
    xmc("predict", f"run={trained}", f"input={corpus / 'test.jsonl'}", f"output={output}", "k=3")
    predictions, documents = lines(output), lines(corpus / "test.jsonl")
    assert [p["id"] for p in predictions] == [d["id"] for d in documents]
    hits = sum(p["labels"][0]["label"] in d["labels"] for p, d in zip(predictions, documents, strict=True))
    assert hits > 0.9 * len(documents)
    first = predictions[0]["labels"]
    assert len(first) == 3
    assert first[0]["name"].startswith("The topic ")
    assert 1 >= first[0]["score"] >= first[1]["score"] >= first[2]["score"] >= 0


def test_predict_through_pipes(trained: Path, xmc: Run) -> None:
    done = xmc("predict", f"run={trained}", "input=-", "output=-", "k=1", input='{"text": "word3a word3b"}\n')
    (prediction,) = map(json.loads, done.stdout.splitlines())
    assert prediction["id"] == "1"
    assert prediction["labels"][0]["label"] == "topic3"


def test_each_line_is_answered_before_the_next_is_written(trained: Path) -> None:
    command = [sys.executable, "-m", "xmc", "predict", f"run={trained}", "input=-", "k=1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        rescue = threading.Timer(300, process.kill)  # where a line is never answered
        rescue.start()
        for topic in (3, 1, 4):
            process.stdin.write(json.dumps({"text": f"word{topic}a word{topic}b"}) + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["labels"][0]["label"] == f"topic{topic}"
        process.stdin.close()
        assert process.wait() == 0 and not process.stdout.read()
        rescue.cancel()


def test_inputs_are_looked_at_before_a_model(trained: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "load_model_or_blend", lambda *of_it: pytest.fail("loaded"))
    assert "no file nowhere.jsonl" in xmc("predict", f"run={trained}", "input=nowhere.jsonl", check=False).stderr
    given = ("predict", f"run={trained}", f"input={trained / 'log.jsonl'}", "filter=nowhere.txt")
    assert "no file nowhere.txt" in xmc(*given, check=False).stderr


def test_a_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(PredictConfig, compose(["run=r", "input=-"], PredictConfig))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(XMCError, match="input=-: standard input is closed"):
        predict.run(config, [])


def test_ids_that_are_none_have_a_way_out(trained: Path, xmc: Run) -> None:
    given = ("predict", f"run={trained}", "input=-", "k=1")
    documents = '{"id": null, "text": "word3a"}\n{"id": 1.5, "text": "word3b"}\n'
    assert "id_field= numbers the documents" in xmc(*given, check=False, input=documents).stderr
    told = xmc(*given, "id_field=", input=documents).stdout
    assert [json.loads(line)["id"] for line in told.splitlines()] == ["1", "2"]


def test_predict_in_python(trained: Path) -> None:
    model = XMCModel.from_pretrained(trained / "model")
    (ranked,) = model.predict(["word5a word5b word5c"], k=2)
    assert ranked[0].label == "topic5"
    assert len(ranked) == 2


def test_python_and_command_agree(trained: Path, xmc: Run) -> None:
    text = "word1a word7b word7c noise3"
    done = xmc("predict", f"run={trained}", "input=-", "k=4", input=json.dumps({"text": text}) + "\n")
    by_command = [label["score"] for label in json.loads(done.stdout)["labels"]]
    by_python = [p.score for p in XMCModel.from_pretrained(trained / "model").predict([text], k=4)[0]]
    assert by_command == pytest.approx(by_python, abs=1e-5)


def test_label_texts_are_learned_from(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    """A label without a document is found by its name, and the documents alone count towards frequencies."""
    folder, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(corpus, folder)
    with open(folder / "labels.tsv", "a") as names:
        names.write("rare\tzebra and quagga, zebra or quagga\n")  # words that stand once are no terms
    taught = ["trainer.label_texts=true", "encoder.term_dropout=0", "trainer.epochs=12"]
    xmc("train", *small(folder, f"run={run}", *taught))
    model = XMCModel.from_pretrained(run / "model")
    rare = model.label_ids.index("rare")
    scores = [{p.label: p.logit for p in one} for one in model.predict(["quagga zebra", "word1a word1b"], k=13)]
    assert scores[0]["rare"] > scores[1]["rare"] + 1 and rare == 12
    xmc("evaluate", f"run={run}")
    assert json.loads((run / "metrics-test.json").read_text())["metrics"]["coverage@5"] == 1
    refused = xmc("train", "data=bow", f"data.root={folder}", "encoder=sparse_features", *taught[:1], check=False)
    assert "trainer.label_texts: data=bow holds sparse features" in refused.stderr


@pytest.mark.slow
def test_multirun_by_submitit(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    """By its executor for this machine; that for SLURM starts the same pickled jobs."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install 'xmc[slurm]'")
    sweep, short = tmp_path / "sweep", ["trainer.max_steps=3", "auxiliary=none", "lexical=none"]
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    xmc("train", "--multirun", *launcher, *small(corpus, f"run={sweep}", *short, "seed=1,2"))
    for seed in ("seed=1", "seed=2"):
        assert (sweep / seed / "model" / "xmc.json").is_file()
        assert seed.replace("=", ": ") in (sweep / seed / "config.yaml").read_text()
    assert any((sweep / ".submitit").iterdir())


def slow(*overrides: str) -> Any:
    """What the tests of resuming, of the pretend GPU and of the strategies do, too."""
    return pytest.param([*overrides], marks=pytest.mark.slow, id=" ".join(overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ["classifier=dense"],
        ["classifier.backend=reference", "classifier.fan_in=32", "loss=squared_hinge", "auxiliary=none"],
        [
            "classifier/optimizer=sgd",
            "sparsity.drop=threshold",
            "sparsity.interval=3",
            "intermediate=linear",
            "intermediate.width=64",
        ],
        ["classifier.group_size=4", "classifier/optimizer=sgd", "classifier.optimizer.momentum=0.9"],
        slow("classifier.weight_dtype=bfloat16", "classifier/optimizer=sgd", "classifier.group_size=4"),
        slow("sparsity=rigl", "sparsity.interval=3", "sparsity.batches=2", "classifier.group_size=2"),
        ["sparsity=rigl", "sparsity.interval=3", "sparsity.candidates=sample", "loss=squared_hinge"],
        ["sparsity=topkast", "sparsity.refresh=3", "sparsity.store=mapped", "parametrization=supar"],
        slow("sparsity=topkast", "sparsity.refresh=3", "classifier/optimizer=sgd", "classifier.head=0.2"),
        ["classifier.head=0.3", "classifier.group_size=2", "auxiliary=none", "sparsity=rigl", "sparsity.interval=4"],
        slow("classifier=dense", "classifier/optimizer=sgd", "sparsity=static", "trainer.micro_batch_size=5"),
    ],
    ids=" ".join,
)
def test_every_part_trains(corpus: Path, tmp_path: Path, xmc: Run, overrides: list[str]) -> None:
    run = tmp_path / "run"
    xmc("train", *small(corpus, f"run={run}", "trainer.max_steps=12", "lexical=none", *overrides))
    xmc("evaluate", f"run={run}")


def test_coordinate_check(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    output = tmp_path / "deep" / "check"
    check = ["check.fan_ins=[4,8]", "check.seeds=[0,1]", "check.steps=3", f"check.output={output}"]
    told = xmc("coordinate-check", *small(corpus, *check))
    assert "| standard |" in told.stdout and "| supar |" in told.stdout
    points = {(p["parametrization"], p["fan_in"]): p["changes"] for p in json.loads(Path(f"{output}.json").read_text())}
    assert points["supar", 4][0] > points["standard", 4][0] and len(points["standard", 8]) == 2
    beyond_an_epoch = ["check.fan_ins=[4,8]", "check.seeds=[0]", "check.steps=27", f"check.output={output}"]
    xmc("coordinate-check", *small(corpus, *beyond_an_epoch))
    told = xmc("coordinate-check", *small(corpus, "classifier=dense", *check), check=False)
    assert told.returncode == 1 and "take classifier=fixed_fan_in" in told.stderr


@pytest.mark.parametrize(
    "overrides",
    [
        ["encoder.pooling=cls", "encoder.activation_checkpointing=true", "trainer.micro_batch_size=6"],
        ["encoder.frozen=true", "encoder.pooling=mean", "auxiliary=none", "encoder.lexical.width=8"],
        ["encoder.layers=2", "encoder.lexical.width=8"],
    ],
    ids=" ".join,
)
def test_transformer(corpus: Path, tmp_path: Path, xmc: Run, bert_folder: Path, overrides: list[str]) -> None:
    run = tmp_path / "run"
    chosen = ["encoder=transformer", f"encoder.name={bert_folder}", "encoder.max_length=16", *overrides]
    xmc("train", *small(corpus, f"run={run}", "trainer.max_steps=12", *chosen))
    xmc("evaluate", f"run={run}")
    assert (run / "model" / "encoder" / "model.safetensors").is_file()
    before = BertModel.from_pretrained(bert_folder).state_dict()
    after = BertModel.from_pretrained(run / "model" / "encoder").state_dict()
    same = all(torch.equal(value, after[name]) for name, value in before.items())
    assert same == ("encoder.frozen=true" in overrides)


@pytest.mark.parametrize(
    "kind", ["parallel", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("wide", "factorized", "doped"))]
)
def test_sparse_ift_in_both_places(corpus: Path, tmp_path: Path, xmc: Run, bert_folder: Path, kind: str) -> None:
    run = tmp_path / "run"
    encoder = ["encoder=transformer", f"encoder.name={bert_folder}", "encoder.max_length=16", "sparsity=rigl"]
    sparse = [f"sparse_ift={kind}", "sparse_ift.layers=[intermediate,encoder]", "intermediate=linear"]
    steps = ["trainer.max_steps=20", "trainer.micro_batch_size=5", "sparsity.interval=10"]
    xmc("train", *small(corpus, f"run={run}", *steps, *encoder, *sparse, "intermediate.width=24"))
    xmc("evaluate", f"run={run}")
    after_the_rewiring = lines(run / "log.jsonl")[0]
    turnover = [after_the_rewiring[key] for key in after_the_rewiring if key.endswith("/turnover")]
    assert len(turnover) == 1 + 4 + {"wide": 1, "parallel": 2, "factorized": 2, "doped": 1}[kind]
    assert all(share > 0 for share in turnover)


def test_flops(corpus: Path, xmc: Run, bert_folder: Path) -> None:
    """BERT of width 16, two layers, inner width 32; the intermediate layer 16 -> 64; 12 labels of fan-in 8."""
    chosen = ["encoder=transformer", f"encoder.name={bert_folder}", "encoder.max_length=16", "encoder.pooling=cls"]
    wide = [
        "sparse_ift=wide",
        "sparse_ift.layers=[intermediate,encoder]",
        "intermediate=linear",
        "intermediate.width=64",
    ]
    told = xmc("flops", *small(corpus, *chosen, *wide)).stdout
    figures = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in told.splitlines()}
    block = "encoder.backbone.encoder.layer.1.intermediate.dense"
    tokens = int(figures[block][0].replace(",", "")) // (16 * 32)
    assert 8 < tokens <= 16
    assert figures[block][0] == figures[block][2] == f"{tokens * 16 * 32:,}"
    query = "encoder.backbone.encoder.layer.0.attention.self.query"
    assert figures[query][0] == f"{tokens * 16 * 16:,}"
    attention = "encoder.backbone.encoder.layer.0.attention.self"
    assert figures[attention][0] == f"{2 * tokens * tokens * 16:,}"
    assert figures["intermediate.body.0"][0] == figures["intermediate.body.sparse"][2] == f"{16 * 64:,}"
    assert figures["classifier"][0] == f"{12 * 64:,}" and figures["classifier"][2] == f"{12 * 8:,}"
    assert "before the classifier: 1.00000 times" in told


def test_estimate(corpus: Path, xmc: Run) -> None:
    told = xmc("estimate", *small(corpus)).stdout
    assert "| classifier: weights | 0 |" in told and "**peak**" in told and "\nfits " in told
    told = xmc("estimate", *small(corpus, "device_memory=500MiB")).stdout
    assert "does not fit 500 MiB" in told and "all that is tried here together does not make it fit" in told
    mistaken = xmc("estimate", *small(corpus, "device_memory=8Gi"), check=False)
    assert "device_memory: got '8Gi'" in mistaken.stderr


def test_wandb_offline(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    pytest.importorskip("wandb")
    ids = set()
    short = ["trainer.max_steps=2", "trainer.log_every=1", "lexical=none"]
    for run in (tmp_path / "a" / "run", tmp_path / "b" / "run"):
        xmc("train", *small(corpus, f"run={run}", *short, "tracking=wandb", "tracking.mode=offline"))
        (logged,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
        ids.add(logged.stem)
    assert len(ids) == 2


def test_predict_reads_documents_as_training_did(trained: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("id_field: id\n", "id_field: text\n"))
    texts = [json.loads(line)["text"] for line in (corpus / "test.jsonl").read_text().splitlines()]
    told = xmc("predict", f"run={run}", f"input={corpus / 'test.jsonl'}").stdout
    assert [json.loads(line)["id"] for line in told.splitlines()] == texts
