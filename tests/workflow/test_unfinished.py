"""A run that has not ended: its checkpoints in Python, and its best model so far."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from xmc import XMCError, XMCModel, load_checkpoint
from xmc.config import TrainConfig, parse, resumed_values, to_yaml
from xmc.config.compose import compose
from xmc.factory import model_folder
from xmc.train.loop import Plan
from xmc.train.state import Progress
from xmc.workflow.training import train_run

TEXTS = ["wing nest", "fin gill"]


class Paused:
    """Lets a run pause after the step."""

    ended = False

    def __init__(self, step: int) -> None:
        self._step = step

    def __call__(self, progress: Progress, plan: Plan) -> Literal["go on", "save", "pause"]:
        return "pause" if progress.step == self._step else "go on"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paused after step 12, measured on dev after 5 and 10."""
    folder = tmp_path_factory.mktemp("unfinished")
    (folder / "data").mkdir()
    rows = ["text,labels", *("wing nest egg,birds", "fin gill sea,fish") * 60]
    (folder / "data" / "train.csv").write_text("\n".join(rows))
    options = ["data=csv", f"data.root={folder / 'data'}", "data.id_field=null", f"data.cache_dir={folder / 'cache'}"]
    options += ["encoder.width=16", "classifier.fan_in=4", "trainer.batch_size=8", "trainer.threads=1"]
    config = parse(TrainConfig, compose([*options, "trainer.eval_every=5", f"run={folder / 'run'}", "recipe=none"]))
    train_run(config, to_yaml(config), attend=Paused(12))
    return folder / "run"


def test_checkpoints_predict(run: Path) -> None:
    best, last = load_checkpoint(run), load_checkpoint(run, "last")
    assert [row[0].label for row in last.predict(TEXTS, k=1)] == ["birds", "fish"]
    assert not torch.equal(best.classifier.bias, last.classifier.bias) and best.lexical is None
    with pytest.raises(
        XMCError, match=r"go on with: xmc train run=\S+ resume=true, or take its best so far with: xmc t"
    ):
        model_folder(run)
    with pytest.raises(XMCError, match="holds no run"):
        load_checkpoint(run / "none")


def test_connections_of_a_label(run: Path) -> None:
    model = load_checkpoint(run)
    seen = model.connections("birds")
    layer = model.classifier.sparse
    assert layer is not None
    assert sorted(seen.features) == sorted(layer.index[0].tolist())
    assert (np.diff(abs(seen.weights)) <= 0).all()
    features = model.encode(TEXTS).numpy()
    logits = features[:, seen.features] @ seen.weights + seen.bias
    expected = [next(p.logit for p in row if p.label == "birds") for row in model.predict(TEXTS, k=2)]
    assert logits == pytest.approx(expected, rel=1e-5)
    with pytest.raises(XMCError, match="label 'bird' is none of the model's 2"):
        model.connections("bird")


def test_finished_now_with_the_best_so_far(run: Path) -> None:
    now = compose([f"run={run}", "finish=now"])
    config = parse(TrainConfig, resumed_values(now, ["run", "finish"]))
    train_run(config, to_yaml(config))
    model, best = XMCModel.from_pretrained(run / "model"), load_checkpoint(run)
    assert torch.equal(model.classifier.bias, best.classifier.bias)
    assert "finish: null" in (run / "config.yaml").read_text()
    assert (run / "metrics-dev.json").is_file()


def test_nothing_to_finish_with(run: Path, tmp_path: Path) -> None:
    text = (run / "config.yaml").read_text().replace(f"run: {run}", f"run: {tmp_path}")
    (tmp_path / "config.yaml").write_text(text)
    config = parse(TrainConfig, resumed_values(compose([f"run={tmp_path}", "finish=now"]), ["run", "finish"]))
    with pytest.raises(XMCError, match="has no checkpoint to finish with; train on with resume=true"):
        train_run(config, to_yaml(config))
