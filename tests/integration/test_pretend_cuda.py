"""Every training variant and every command on a pretend GPU, with `-m gpu` on a real one.

With TRITON_INTERPRET=1 the pretend one's back end is `triton`, too.
"""

import itertools
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from harness import Run, write_bow, write_corpus
from pretend_cuda import INTERPRETED, KINDS, DeviceMismatch, Gpus, gpus_of
from transformers import AutoTokenizer, BertConfig, BertModel

from xmc import XMCClassifier, XMCModel
from xmc.config import TrainConfig, parse, to_yaml
from xmc.config.compose import compose
from xmc.model.classifier import FixedFanIn
from xmc.model.precision import Precision
from xmc.ops.fan_in.impl import tuning
from xmc.serve.models import Explain, Models, Suggest
from xmc.train import loop
from xmc.train.state import Progress
from xmc.train.step import Step
from xmc.types import TopK
from xmc.workflow.training import train_run

BACKEND = "triton" if INTERPRETED else "torch"
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
SMALL = (
    *("data=synthetic", "data.num_labels=40", "data.num_documents=120", "data.num_words=300", "data.noise_words=3"),
    *("data.words_per_label=2", "recipe=none", "lexical=none", "trainer.device=cuda", "trainer.threads=1"),
    *("trainer.batch_size=16", "trainer.max_steps=2", "trainer.eval_every=2", "trainer.log_every=2"),
)
SET = "sparsity.interval=1"
IN_PLACE = "classifier/optimizer=sgd"
INTERMEDIATE = ("intermediate=linear", "intermediate.width=32")
VARIANTS: dict[str, tuple[str, ...]] = {
    "set": (SET,),
    "static": ("sparsity=static",),
    "in place": (IN_PLACE, SET),
    "bfloat16 weights": (IN_PLACE, "classifier.weight_dtype=bfloat16", SET),
    "momentum": (IN_PLACE, "classifier.optimizer.momentum=0.9", "loss=squared_hinge", SET),
    "groups": ("classifier.group_size=4", SET),
    "groups and head": ("experiment=groups_head", "classifier.group_size=4", "classifier.head=0.2", SET),
    "rigl": ("sparsity=rigl", SET, "sparsity.batches=2"),
    "rigl, a sample": ("sparsity=rigl", SET, "sparsity.candidates=sample"),
    "topkast": ("sparsity=topkast", "sparsity.refresh=1"),
    "topkast, on the host": ("sparsity=topkast", "sparsity.refresh=1", "sparsity.store=host"),
    "auxiliary": ("auxiliary=clusters", "auxiliary.leaf_size=5", "auxiliary.until=0.9", SET),
    "micro-batches": ("trainer.micro_batch_size=4", "encoder.activation_checkpointing=true", SET),
    "float32": ("trainer.precision=float32", SET),
    "intermediate, wide": (*INTERMEDIATE, "sparse_ift=wide", "sparsity=rigl", SET),
    "intermediate, factorized": (*INTERMEDIATE, "sparse_ift=factorized", SET),
    "transformer, doped": (*INTERMEDIATE, "sparse_ift=doped", "sparse_ift.layers=[intermediate,encoder]", SET),
    "supar": ("parametrization=supar", "trainer.logit_adjustment=0.2", "trainer.label_texts=true", SET),
    "bag beside a transformer": ("encoder.lexical.width=8", SET),
    "lexical half": ("lexical=tree", SET),
    "frozen": ("encoder.frozen=true", SET),
    "dense": ("classifier=dense",),
    "bag": ("encoder=bag", "encoder.width=16", SET),
}
OTHERS = ("dense", "float32", "frozen", "lexical half", "bag", "supar", "bag beside a transformer")  # of back ends
SLOW = (
    *("lexical half", "static", "momentum", "rigl, a sample"),
    *("topkast, on the host", "intermediate, factorized"),
    *("groups", "micro-batches", "float32", "intermediate, wide", "frozen", "bag beside a transformer"),
)


@pytest.fixture(scope="session", autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(autouse=True)
def gpus(kind: str) -> Iterator[Gpus]:
    with gpus_of(kind) as found:
        yield found


@pytest.fixture
def counting(gpus: Gpus) -> Gpus:
    """GPUs that count, which no real one does."""
    if gpus.real:
        pytest.skip("only a pretend GPU tells")
    return gpus


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that can spell the words of synthetic documents."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[MASK]", "[SEP]", "[PAD]", "[UNK]", "[CLS]", *SYLLABLES, *(f"##{syllable}" for syllable in SYLLABLES)]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), **shape, pad_token_id=2)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def overrides(bert: Path, cache: Path, run: Path, *more: str) -> list[str]:
    encoder = [] if "encoder=bag" in more else ["encoder=transformer", f"encoder.name={bert}", "encoder.max_length=24"]
    given = [f"run={run}", *SMALL, f"data.cache_dir={cache}", *encoder]
    if "classifier=dense" not in more:
        given.append("classifier.fan_in=4")
    chosen = {one.partition("=")[0] for one in more}
    return [one for one in given if one.partition("=")[0] not in chosen] + [*more]


def train(given: list[str]) -> Path:
    """As `xmc train`, without Hydra around it, which would take as long again. The folder of the run."""
    config = parse(TrainConfig, compose(given))
    train_run(config, to_yaml(config))
    return Path(config.run)


@pytest.fixture(scope="session")
def run(kind: str, bert: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    with gpus_of(kind):
        return train(overrides(bert, cache, tmp_path_factory.mktemp("runs") / "run", SET))


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents with two labels that the run does not know."""
    path = tmp_path_factory.mktemp("examples") / "new.jsonl"
    documents = ({"id": str(i), "text": "bafo gube nipa", "labels": [f"new-{i % 2}"]} for i in range(6))
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def variants() -> Iterator[Any]:
    for variant in VARIANTS:
        if not (INTERPRETED and variant in OTHERS):
            yield pytest.param(variant, marks=pytest.mark.slow if variant in SLOW else ())


@pytest.mark.parametrize("variant", variants())
def test_trains(
    variant: str, bert: Path, cache: Path, tmp_path: Path, gpus: Gpus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = train(overrides(bert, cache, tmp_path / "run", *VARIANTS[variant]))
    backend = "triton" if gpus.real else BACKEND
    assert variant == "dense" or f"classifier back end: {backend}" in caplog.text
    assert gpus.launched(INTERPRETED)
    assert (run / "model/xmc.json").is_file()


def test_trains_on_sparse_features(tmp_path: Path, gpus: Gpus) -> None:
    write_corpus(tmp_path / "corpus")
    write_bow(tmp_path / "corpus", tmp_path / "bow")
    places = ["data=bow", f"data.root={tmp_path / 'bow'}", f"data.cache_dir={tmp_path / 'cache'}"]
    few = [one for one in SMALL if not one.startswith("data")]
    network = ["encoder=sparse_features", "encoder.width=16", "classifier.fan_in=4", SET]
    run = train([*few, *places, *network, f"run={tmp_path / 'run'}"])
    assert gpus.launched(INTERPRETED) and (run / "model/xmc.json").is_file()


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_trains_by_a_back_end_asked_for_by_name(
    backend: str, bert: Path, cache: Path, tmp_path: Path, gpus: Gpus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    train(overrides(bert, cache, tmp_path / "run", IN_PLACE, SET, f"classifier.backend={backend}"))
    assert f"classifier back end: {backend}\n" in caplog.text and gpus.launched(False)


def test_the_cpus_back_end_asked_for_by_name_is_refused(bert: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'numba' cannot serve"):
        train(overrides(bert, cache, tmp_path / "run", "classifier.backend=numba"))


@pytest.mark.parametrize(
    "more",
    [
        ("evaluate", "split=test"),
        ("evaluate", "split=dev", "documents=true"),
        ("report", "replicates=10"),
        ("calibrate", "k=40", "per_label=true", "min_positives=1"),
        ("evaluate", "split=test"),  # by thresholds, now
    ],
    ids=" ".join,
)
def test_measures(more: tuple[str, ...], run: Path, xmc: Run) -> None:
    command, *given = more
    xmc(command, f"run={run}", "device=cuda", "threads=1", *given)


@pytest.mark.parametrize(
    "more",
    [(), ("threshold=0.5",), ("format=scores",), pytest.param(("explain=true", "k=1"), marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_predicts(more: tuple[str, ...], run: Path, examples: Path, tmp_path: Path, xmc: Run) -> None:
    output = tmp_path / "predictions"
    xmc("predict", f"run={run}", f"input={examples}", f"output={output}.txt", "device=cuda", "threads=1", *more)
    assert output.with_suffix(".txt").read_text()


def test_labels_join(run: Path, examples: Path, tmp_path: Path, xmc: Run) -> None:
    given = (f"run={run}", f"input={examples}", f"output={tmp_path / 'more'}", "negatives=20", "steps=3")
    xmc("add-labels", *given, "device=cuda", "threads=1")
    assert len(XMCModel.from_pretrained(tmp_path / "more").label_ids) == 42


@pytest.mark.parametrize("more", [(), ("keep_labels=true", "data.num_labels=30")], ids=" ".join)
def test_goes_on_from_a_trained_model(
    more: tuple[str, ...], run: Path, bert: Path, cache: Path, tmp_path: Path, xmc: Run
) -> None:
    given = overrides(bert, cache, tmp_path / "fine", SET, "data.num_labels=50", "new_labels.steps=2", *more)
    inherited = ("encoder", "classifier", "recipe", "lexical")
    given = [one for one in given if not one.startswith(inherited)]
    xmc("finetune", f"from={run}", *given)


def test_resumes(bert: Path, cache: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = overrides(
        bert, cache, tmp_path / "run", "sparsity=rigl", SET, "trainer.checkpoint_every=1", "trainer.max_steps=4"
    )
    step = loop.train_step

    def stop(state: loop.TrainState, *given: Any, **options: Any) -> Step:
        if state.progress.step == 3:
            raise KeyboardInterrupt
        return step(state, *given, **options)

    monkeypatch.setattr(loop, "train_step", stop)
    xmc("train", *given, check=False)
    monkeypatch.undo()
    told = xmc("train", f"run={tmp_path / 'run'}", "resume=true").stderr
    assert "resuming after step 3" in told and (tmp_path / "run/model/xmc.json").is_file()


@pytest.mark.parametrize("variant", [(), (IN_PLACE,), (IN_PLACE, "trainer.micro_batch_size=4")], ids=" ".join)
def test_a_step_waits_for_nothing(
    variant: tuple[str, ...],
    bert: Path,
    cache: Path,
    tmp_path: Path,
    counting: Gpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for the log. Transformers asks in each forward pass whether anything is masked, and the stock operators ask
    once where the positives of each block of labels begin."""
    before: list[Counter[str]] = []
    step, encode = loop.train_step, XMCModel.features

    def encoded(*given: Any) -> torch.Tensor:
        counting.waits["_local_scalar_dense"] -= 1
        return encode(*given)

    def counted(*given: Any, **options: Any) -> Step:
        before.append(counting.waits.copy())
        return step(*given, **options)

    monkeypatch.setattr(loop, "train_step", counted)
    monkeypatch.setattr(XMCModel, "features", encoded)
    rare = ("trainer.max_steps=4", "trainer.eval_every=100", "trainer.log_every=100")
    train(overrides(bert, cache, tmp_path / "run", "sparsity=static", *rare, *variant))
    waits = [after - start for start, after in itertools.pairwise(before)]
    assert waits[1:] == [Counter() if INTERPRETED else Counter(tolist=1)] * 2


class Pause:
    """After the second step."""

    ended = False

    def __call__(self, progress: Progress, plan: loop.Plan) -> Literal["go on", "pause"]:
        return "pause" if progress.step == 2 else "go on"


@pytest.mark.skipif(not INTERPRETED, reason="without triton there is nothing to choose")
def test_the_fastest_is_measured_before_training_and_kept(
    bert: Path,
    cache: Path,
    tmp_path: Path,
    counting: Gpus,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process that goes on keeps what the checkpoint says, though all else is faster now."""
    caplog.set_level(logging.INFO)
    clock, step, at_steps = itertools.count(999, -1), loop.train_step, []

    def milliseconds(call: Callable[[], object], **_: Any) -> int:
        call()
        return next(clock)

    def watched(*given: Any, **options: Any) -> Step:
        at_steps.append(len(tuned()))
        return step(*given, **options)

    def tuned() -> list[str]:
        return [message for message in caplog.messages if message.startswith("tuned ")]

    def choices(step: int) -> dict[str, str]:
        state = json.loads((tmp_path / f"run/checkpoints/step-{step:08d}/state.json").read_text())
        return {call: choice for call, choice in state["tuned"].items() if "in place" in call}

    monkeypatch.setattr("triton.testing.do_bench", milliseconds)
    monkeypatch.setattr(loop, "train_step", watched)
    given = overrides(bert, cache, tmp_path / "run", IN_PLACE, "sparsity=static", "trainer.max_steps=4")
    config = parse(TrainConfig, compose([*given, "trainer.eval_every=10"]))
    train_run(config, to_yaml(config), attend=Pause())
    of_triton, of_all = tuned()
    assert all(f"{form} 9" in of_triton for form in ("plain", "densified, 128 columns", "densified, 64 columns"))
    assert "tuned bce in place, 4 of 16 columns" in of_all and "torch (triton 9" in of_all
    assert at_steps == [2, 2], "before the first step all is chosen"
    before = choices(2)
    assert sorted(before.values()) == ["densified, 64 columns", "torch"]

    monkeypatch.setattr(tuning, "TUNER", tuning.Tuner(None))
    clock = itertools.count()
    train_run(config.model_copy(update={"resume": True}), to_yaml(config))
    assert choices(4) == {call: choice for call, choice in before.items() if choice == "torch"}


@pytest.mark.slow
def test_a_study(bert: Path, cache: Path, tmp_path: Path, xmc: Run) -> None:
    pytest.importorskip("optuna")
    given = overrides(bert, cache, tmp_path / "run", "encoder=bag", "encoder.width=16", IN_PLACE, SET)
    xmc("tune", "trials=1", "budget=1h", f"output={tmp_path / 'study'}", *given)
    assert (tmp_path / "study/best.yaml").is_file()


@pytest.mark.slow
def test_coordinates(bert: Path, cache: Path, tmp_path: Path, xmc: Run) -> None:
    check = ("check.fan_ins=[2,4]", "check.seeds=[0]", "check.steps=2", f"check.output={tmp_path / 'check'}")
    given = overrides(bert, cache, tmp_path / "run", *check)
    xmc("coordinate-check", *(one for one in given if not one.startswith(("run=", "parametrization"))))


@pytest.mark.slow
def test_a_blend(run: Path, tmp_path: Path, xmc: Run) -> None:
    xmc("blend", f"run={tmp_path / 'blend'}", f"runs=[{run}]", f"neighbours={run}", "device=cuda", "threads=1")
    xmc("evaluate", f"run={tmp_path / 'blend'}", "split=test", "device=cuda", "threads=1")


def test_a_saved_model_is_moved(run: Path, gpus: Gpus) -> None:
    model = XMCModel.from_pretrained(run / "model")
    here = model.predict(["bafo gube nipa"])
    there = model.to("cuda").predict(["bafo gube nipa"])
    assert [p.label for p in there[0]] == [p.label for p in here[0]]
    assert gpus.launched(INTERPRETED)
    again = model.to("cpu").predict(["bafo gube nipa"])
    assert again == here


def test_a_saved_model_is_loaded_there(run: Path) -> None:
    model = XMCModel.from_pretrained(run / "model", device="cuda")
    assert model.device.type == "cuda" and len(model.predict(["bafo gube"], k=3)[0]) == 3
    assert model.encode(["bafo gube"]).device.type == "cuda"


def test_another_gpu_than_the_first(bert: Path, cache: Path, tmp_path: Path, gpus: Gpus) -> None:
    """Kernels are launched on the current device, which stays the first."""
    if gpus.real and torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    given = overrides(bert, cache, tmp_path / "run", IN_PLACE, "classifier.group_size=4", SET)
    train([*(one for one in given if one != "trainer.device=cuda"), "trainer.device=cuda:1"])
    assert gpus.launched(INTERPRETED) and gpus.current == 0


def test_a_saved_model_is_served_there(run: Path) -> None:
    """By the work that a server's thread does; a pretend GPU is there in the test's own thread alone."""
    models = Models(run, "cuda")
    models.load()
    (served,) = models
    alone = Suggest(served, 3, None)
    assert alone(["bafo gube", "nipa"]) == [*alone(["bafo gube"]), *alone(["nipa"])]
    label = alone(["bafo gube"])[0][0].label
    assert len(Explain(served, (label,))(["bafo gube"])) == 1


def test_the_estimator(bert: Path) -> None:
    given = ("encoder=transformer", f"encoder.name={bert}", "classifier.fan_in=4", "trainer.max_steps=2")
    model = XMCClassifier(device="cuda", overrides=[*given, "lexical=none", "recipe=none"])
    model.fit(["bafo gube", "nipa bafo"] * 20, [["a"], ["b", "a"]] * 20)
    assert len(model.predict(["bafo"], k=1)) == 1


@pytest.mark.parametrize(("precision", "expected"), [("auto", torch.bfloat16), ("float32", torch.float32)])
def test_classifier_and_network_compute_in_one_type(
    precision: Precision, expected: torch.dtype, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    topk = FixedFanIn.topk

    def watched(layer: FixedFanIn, features_BD: torch.Tensor, k: int) -> TopK:
        seen.append(features_BD.dtype)
        return topk(layer, features_BD, k)

    monkeypatch.setattr(FixedFanIn, "topk", watched)
    model = XMCModel.from_pretrained(run / "model", device="cuda", precision=precision)
    assert model.predict(["bafo gube"]) and seen == [expected]
    assert model.encode(["bafo gube"]).dtype == torch.float32
    model.to("cpu").predict(["bafo gube"])
    assert seen == [expected, torch.float32]


def test_products_of_float32_are_as_coarse_as_is_asked_for(
    bert: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    train(overrides(bert, cache, tmp_path / "run", "trainer.float32_matmul_precision=high", "trainer.max_steps=1"))
    assert asked == ["high"]


@pytest.mark.skipif(INTERPRETED, reason="once is enough")
def test_what_a_gpu_refuses_is_refused(counting: Gpus) -> None:
    there, elsewhere, here = torch.ones(3).to("cuda"), torch.ones(3, device="cuda:1"), torch.ones(3)
    assert (there + 1).device == torch.device("cuda:0") and elsewhere.device == torch.device("cuda:1")
    for other in (here, elsewhere):
        with pytest.raises(DeviceMismatch):
            there + other
    with pytest.raises(TypeError, match="to numpy"):
        there.numpy()
    before = counting.waits.total()
    there.sum().item()
    there.cpu()
    torch.arange(3).pin_memory().to("cuda", non_blocking=True)
    assert counting.waits.total() == before + 2


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="it starts itself")
def test_with_triton_through_its_interpreter(counting: Gpus) -> None:
    """The same, launched as on a GPU. A step is always taken so, in `test_triton.py`."""
    pytest.importorskip("triton", reason="triton is not installed")
    chosen = "fastest or trains or waits or moved or labels_join or resumes or another_gpu"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-q", "-x", "-k", chosen, __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
