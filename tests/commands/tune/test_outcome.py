"""How a study ends: what is told can be pasted, and gives the settings that were found."""

import functools
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

import xmc.config.choices as module
from xmc.commands.tune.halving import Trial
from xmc.commands.tune.outcome import Recipe, differences, table
from xmc.config import TrainConfig, parse
from xmc.config.choices import conf_folder
from xmc.config.compose import compose

FOUND = {
    "plain": [],
    "keys": ["encoder.dropout=0.2", "classifier.optimizer.lr=0.01", "metrics.ks=[1,10]"],
    "groups": ["classifier/optimizer=sgd", "classifier.optimizer.lr=0.5", "sparsity=rigl", "intermediate=linear"],
    "dense": ["classifier=dense", "classifier/optimizer=sgd"],
    "benchmark": ["data=wiki-500k", "encoder.width=2048"],
    "experiment": ["experiment=tibkat_en", "data.root=my data/$x", "encoder.width=512"],
    "transformer": ["encoder=transformer", "encoder.name=some/model", "data=jsonl", "data.root=~there"],
    "bow": ["data=bow", "data.root=there", "encoder=sparse_features", "trainer.epochs=2.0"],
    "wandb": ["tracking=wandb", "tracking.name=mine: '1'"],
}


def config(arguments: list[str]) -> TrainConfig:
    return parse(TrainConfig, compose(arguments))


@functools.cache
def found_under(name: str) -> TrainConfig:
    return config(FOUND[name])


@pytest.mark.parametrize("name", FOUND)
def test_the_command_gives_the_settings(name: str) -> None:
    found = found_under(name)
    words = shlex.split(Recipe(found).command("runs/the best"))
    assert words[:2] == ["xmc", "train"]
    assert config(words[2:]) == found.model_copy(update={"run": "runs/the best"})


@pytest.mark.parametrize("name", FOUND)
def test_the_experiment_gives_the_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(found := found_under(name))
    text = recipe.experiment("Found: ${here}, 50 %.")
    shutil.copytree(conf_folder(), tmp_path / "conf")
    (tmp_path / "conf" / "experiment" / "best.yaml").write_text(text)
    monkeypatch.setattr(module, "conf_folder", lambda: tmp_path / "conf")
    data = shlex.split(recipe.command("r"))[2 : 2 + len(recipe.data)]
    assert config([*data, "experiment=best", f"run={found.run}"]) == found
    assert text.startswith("# @package _global_\n# Found: ")
    assert not {"run", "data", "resume"} & (yaml.safe_load(text) or {}).keys()


def test_a_table_of_the_best() -> None:
    values = {"encoder.dropout": 0.5, "trainer.label_texts": False}
    other = {"encoder.dropout": 0.125, "trainer.label_texts": True}
    trials = [
        Trial(0, values, 0, 1.0, scores=(0.1, 0.2, 0.3), seconds=(1.0, 2.0, 3.4)),
        *(Trial(n, other, 0, 1.0, scores=(0.5,), seconds=(1.0,)) for n in range(1, 12)),
        Trial(12, other, 0, 1.0, scores=(0.2, 0.3, 0.4), seconds=(1.0, 2.0, 3.0)),
        Trial(13, other, 1, 1.0, repeats=12, scores=(0.5, 0.5, 0.5), seconds=(6.0, 0.0, 0.0)),
        Trial(14, other, 0, 1.0, lost="failed"),
    ]
    lines = table(trials, values, "nDCG@5").splitlines()
    assert lines[4] == "| 12 | 20.00 | 30.00 | 40.00 | 45.00 | 2 | 6 | encoder.dropout=0.125 trainer.label_texts=true |"
    assert lines[5] == "| 0 | 10.00 | 20.00 | 30.00 | 30.00 | 1 | 6 | as recommended |"
    assert lines[6].startswith("| 1 | 50.00 |  |  |  |  | 1 |") and len(lines) == 14
    assert all(line.count("|") == lines[2].count("|") for line in lines[3:])


def test_differences_are_overrides() -> None:
    assert (
        differences({"a.b": 2e-05, "c": True, "d": "sgd"}, {"a.b": 1.0, "c": False, "d": "sgd"}) == "a.b=2e-05 c=true"
    )
