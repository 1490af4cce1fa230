"""Whole runs of several processes, played by threads, beside that of one: the same but for the order of sums."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_threads import together
from scipy.sparse import csr_matrix
from test_config import composed
from torch import Tensor

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.data.corpus import Corpus, Split
from xmc.distributed import ALONE, Processes
from xmc.train.checkpoint import Checkpoints
from xmc.train.loop import train
from xmc.train.state import TrainState
from xmc.workflow.measuring import measure

LABELS, DOCUMENTS, STEPS = 11, 45, 24  # batches of 8: the last of an epoch has five documents

SMALL = [
    *("encoder.width=16", "encoder.dropout=0", "encoder.term_dropout=0", "trainer.batch_size=8", "lexical=none"),
    *(f"trainer.max_steps={STEPS}", "trainer.log_every=1", "trainer.eval_every=12", "metrics.ks=[1,3]"),
]
FIGURES = {"loss", "gradient_norm", "gradient/features", "dropped", "topology/turnover", "dev/nDCG@3", "dev/P@1"}
SET = ["sparsity=set", "sparsity.interval=5"]
RIGL = ["sparsity=rigl", "sparsity.interval=5"]
TOPKAST = ["sparsity=topkast", "sparsity.refresh=5"]
HEAD = "classifier.head=0.4"
TRANSFORMER = ["encoder=transformer", "encoder.name={bert}", "encoder.max_length=16", "encoder.backbone_dropout=0"]
SGD = "classifier/optimizer=sgd"  # in place
STRATEGIES = {
    "set": SET,
    "set, in place": [*SET, SGD],
    "rigl": [*RIGL, "sparsity.batches=2"],
    "rigl, in place": [*RIGL, SGD],
    "rigl, a sample": [*RIGL, "sparsity.candidates=sample"],
    "topkast": TOPKAST,
    "topkast, in place": [*TOPKAST, SGD],
    "topkast, in a file": [*TOPKAST, "sparsity.store=mapped"],
    "dense": ["classifier=dense", "encoder.mlp_width=8"],
    "dense, sgd": ["classifier=dense", SGD],
    "head": [*SET, HEAD],
    "head, in place": [*SET, HEAD, SGD],
    "head and topkast, in place": [*TOPKAST, HEAD, SGD],
    "transformer": [*SET, *TRANSFORMER],
    "transformer, in place": [*RIGL, *TRANSFORMER, SGD],
    "static, micro-batches": ["sparsity=static", "loss=squared_hinge", "trainer.micro_batch_size=2"],
    "bfloat16, in place": [*SET, SGD, "classifier.weight_dtype=bfloat16", "trainer.logit_adjustment=0.3"],
    "momentum": [SGD, "classifier.optimizer.momentum=0.9"],
    "auxiliary": ["auxiliary=clusters", "auxiliary.leaf_size=2", "auxiliary.until=0.75"],
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For each process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def corpus() -> Corpus:
    rng = np.random.default_rng(0)

    def split(name: str, documents: int) -> Split:
        labels = np.zeros((documents, LABELS), dtype=np.float32)
        texts = []
        for row in range(documents):
            chosen = rng.choice(LABELS, rng.integers(0, 4), replace=False)
            labels[row, chosen] = 1
            words = [f"word{label}x{rng.integers(3)}" for label in chosen for _ in range(3)]
            letters = ["abcdefgh"[label % 8] for label in chosen]  # that the tiny BERT can spell
            texts.append(" ".join([*letters, *words, f"noise{rng.integers(9)}", "and"]))
        return Split([f"{name}{i}" for i in range(documents)], texts, csr_matrix(labels))

    names = [f"label{i}" for i in range(LABELS)]
    return Corpus("tiny", {"train": split("train", DOCUMENTS), "dev": split("dev", 13)}, names, names)


class Kept:
    """What was logged."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def log(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    def close(self) -> None: ...


class Runs:
    """Runs of one configuration; each process has a copy of one encoder, since threads share torch's random state."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder
        chosen = {override.partition("=")[0] for override in overrides}
        foreign = {"encoder.width", "encoder.term_dropout"} if "encoder=transformer" in overrides else set()
        small = [option for option in SMALL if option.partition("=")[0] not in chosen | foreign]
        if "classifier=dense" not in overrides:
            small.append("classifier.fan_in=4")
        places = [f"run={folder}", f"data.cache_dir={folder / 'cache'}"]
        self.config = parse(TrainConfig, composed(*small, *places, *overrides))
        self.corpus = corpus()
        torch.manual_seed(self.config.seed)
        self._encoder = factory.build_encoder(self.config, self.corpus)

    def train(self, size: int, *, name: str = "", stop: int | None = None, resume: bool = False) -> list["Trained"]:
        """name: of the checkpoints. stop: after so many steps. resume: from the last checkpoint of that name."""
        encoders = [copy.deepcopy(self._encoder) for _ in range(size)]

        def work(processes: Processes) -> Trained:
            return Trained(self, encoders[processes.rank], processes, self.folder / (name or f"by{size}"), stop, resume)

        return [work(ALONE)] if size == 1 else together(size, work)


class Trained:
    """A run as one process has it at its end."""

    def __init__(
        self, runs: Runs, encoder: Any, processes: Processes, folder: Path, stop: int | None, resume: bool
    ) -> None:
        setup = factory.build_training(
            runs.config, runs.corpus, torch.device("cpu"), encoder, resumed=resume, processes=processes
        )
        self.state: TrainState = setup.state
        checkpoints = Checkpoints(folder, config_hash="", keep_last=1, processes=processes)
        if resume:
            self.state.load(*checkpoints.load_last())
        dev, kept = setup.dev_batches, Kept()
        assert dev is not None

        def validate() -> tuple[float, dict[str, float]]:
            report = measure(self.state.model, dev, runs.corpus, "dev", runs.config.metrics, processes)
            return report["nDCG@3"], {"nDCG@3": report["nDCG@3"], "P@1": report["P@1"]}

        class Until:
            ended = False

            def __call__(self, progress: Any, plan: Any) -> Any:
                return "pause" if progress.step == stop else "go on"

        train(
            *(self.state, setup.batches, setup.plan),
            validate=validate,
            checkpoints=checkpoints,
            tracker=kept,
            attend=None if stop is None else Until(),
        )
        self.records = kept.records


def whole(parts: list[Trained]) -> dict[str, Tensor]:
    """The tensors of the model, those of the labels put together."""
    states = [part.state.model.state_dict() for part in parts]
    return {
        name: torch.cat([state[name] for state in states]) if is_divided(name) else value
        for name, value in states[0].items()
    }


def is_divided(name: str) -> bool:
    return name.startswith("classifier.") and not name.endswith("order")


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], **tolerance: float) -> None:
    """Exactly, where these are no numbers that were added up."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if value.is_floating_point():
            torch.testing.assert_close(ours[name], value, msg=name, **tolerance)
        else:
            assert torch.equal(ours[name], value), name


def of_each(*quick: str) -> list[Any]:
    """The strategies by name; all others than these are slow."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in STRATEGIES]


def runs_of(strategy: str, folder: Path, bert: Path) -> Runs:
    return Runs(folder, *(override.format(bert=bert) for override in STRATEGIES[strategy]))


@pytest.mark.parametrize(
    "strategy",
    of_each(
        "set", "topkast", "static, micro-batches", "bfloat16, in place", "dense", "head", "transformer", "auxiliary"
    ),
)
@pytest.mark.parametrize("size", [3, *(pytest.param(size, marks=pytest.mark.slow) for size in (2, 4))])
def test_a_run_is_that_of_one_process(strategy: str, size: int, tmp_path: Path, bert_folder: Path) -> None:
    """Tolerance: sums of some hundred numbers in float32 differ by 1e-6; two dozen steps of AdamW, which divides by
    roots of small numbers, make 1e-4 of it; a weight of bfloat16 may be rounded to its other neighbour, 2^-8."""
    runs = runs_of(strategy, tmp_path, bert_folder)
    (one,) = runs.train(1)
    expected, half = whole([one]), strategy.startswith("bfloat16")
    parts = runs.train(size)
    assert_close(whole(parts), expected, rtol=2e-2 if half else 1e-3, atol=1e-2 if half else 1e-4)
    for other in parts[1:]:  # what all have is the same to the bit
        for name, value in parts[0].state.model.state_dict().items():
            assert is_divided(name) or torch.equal(other.state.model.state_dict()[name], value), name
        assert other.state.progress == parts[0].state.progress
    for mine, its in zip(parts[0].records, one.records, strict=True):
        assert mine.keys() == its.keys()
        for key in FIGURES & its.keys():
            assert mine[key] == pytest.approx(its[key], rel=2e-2 if half else 1e-3), (key, its["step"])


@pytest.mark.parametrize("size", [2, 3])
def test_the_same_number_of_processes_gives_the_same_bits(size: int, tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    first, second = (whole(runs.train(size, name=name)) for name in ("first", "second"))
    assert all(torch.equal(second[name], value) for name, value in first.items())


@pytest.mark.parametrize("strategy", of_each("rigl", "head and topkast, in place"))
def test_a_run_goes_on_with_other_numbers_of_processes(strategy: str, tmp_path: Path, bert_folder: Path) -> None:
    """From four to two to one, in the middle of an interval of rewiring; and by the same number to the bit."""
    runs = runs_of(strategy, tmp_path, bert_folder)
    half = strategy.startswith("bfloat16")
    expected = whole(runs.train(1))
    for sizes in ((4, 2, 1), (1, 3, 2)):
        name = "-".join(map(str, sizes))
        for i, (size, stop) in enumerate(zip(sizes, (9, 14, None), strict=True)):
            parts = runs.train(size, name=name, stop=stop, resume=i > 0)
        assert_close(whole(parts), expected, rtol=2e-2 if half else 1e-3, atol=1e-2 if half else 1e-4)
    undisturbed = whole(runs.train(2))
    runs.train(2, name="in-two", stop=9)
    parts = runs.train(2, name="in-two", resume=True)
    assert all(torch.equal(value, undisturbed[name]) for name, value in whole(parts).items())
