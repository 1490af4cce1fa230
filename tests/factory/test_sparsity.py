"""When connections change, and the word that is said where they never will."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from test_config import composed

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.data.corpus import Corpus, Split


def planned(tmp_path: Path, *overrides: str) -> tuple[list[int], str | None]:
    """The steps after which a run rewires, and what is said of a run that never does."""
    labels = csr_matrix(np.eye(4, dtype=np.float32)[[0, 1, 2, 3] * 3])
    train = Split([str(i) for i in range(12)], [f"word{i % 4} other{i}" for i in range(12)], labels)
    small = ["encoder.width=32", "classifier.fan_in=8", "trainer.batch_size=4", f"data.cache_dir={tmp_path}"]
    config = parse(TrainConfig, composed(*small, *overrides))
    corpus = Corpus("tiny", {"train": train}, [*"abcd"], [*"abcd"])
    setup = factory.build_training(config, corpus, torch.device("cpu"))
    total, parts = setup.plan.total_steps, setup.state.sparse
    steps = [step for step in range(1, total + 1) if any(part.strategy.due(step) for part in parts.values())]
    return steps, factory.why_nothing_rewires(config.sparsity, parts, total)


@pytest.mark.parametrize(
    ("strategy", "steps"), [("set", [15, 30]), ("rigl", [15, 30]), ("topkast", [15, 30, 45, 60]), ("static", [])]
)
def test_a_short_run_rewires(tmp_path: Path, strategy: str, steps: list[int]) -> None:
    assert planned(tmp_path, f"sparsity={strategy}", "trainer.max_steps=60") == (steps, None)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["sparsity=set", "trainer.max_steps=60", "sparsity.interval=100"], "60 steps are over before"),
        (["sparsity=rigl", "trainer.max_steps=9"], "9 steps are over before"),
        (["sparsity=topkast", "trainer.max_steps=60", "sparsity.refresh=100"], "60 steps are over before"),
        (["sparsity=set", "trainer.max_steps=2"], "2 steps are over before"),
        (["sparsity=set", "trainer.max_steps=60", "classifier.fan_in=32"], "each label has all 32 features"),
        (["sparsity=set", "trainer.max_steps=60", "classifier.fan_in=2"], "is less than one"),
        (["sparsity=topkast", "trainer.max_steps=60", "sparsity.backward=1"], "none learn but those that speak"),
    ],
)
def test_a_run_that_will_never_rewire_says_so(tmp_path: Path, overrides: list[str], told: str) -> None:
    why = planned(tmp_path, *overrides)[1]
    assert why is not None and told in why and "\n" not in why
    if found := re.search(r"set (sparsity\.\w+=\d+)", why):
        assert planned(tmp_path, *overrides, found[1])[1] is None
    else:
        way_out = {"classifier.fan_in": 8, "sparsity.backward": 2, "train longer": 90}
        key, value = next((key, value) for key, value in way_out.items() if key in why)
        remedy = f"{key}={value}".replace("train longer", "trainer.max_steps")
        assert planned(tmp_path, *overrides, remedy)[1] is None


@pytest.mark.parametrize("interval", [25, 100])
def test_a_number_is_taken_as_it_is(tmp_path: Path, interval: int) -> None:
    steps, _ = planned(tmp_path, "trainer.max_steps=400", f"sparsity.interval={interval}")
    assert steps == list(range(interval, 264, interval))
