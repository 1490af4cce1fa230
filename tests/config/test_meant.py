from pathlib import Path

import pytest

from xmc.commands.predict import PredictConfig
from xmc.commands.report import ReportConfig
from xmc.config import TrainConfig, parse
from xmc.config.compose import compose
from xmc.errors import XMCError
from xmc.section import Section


@pytest.mark.parametrize(
    ("schema", "typed", "told"),
    [
        (TrainConfig, "--epochs 3", "--epochs: unknown flag; keys have no dashes: did you mean trainer.epochs=3?"),
        (TrainConfig, "--fan-in=64", "--fan-in: unknown flag; keys have no dashes: did you mean classifier.fan_in=64?"),
        (TrainConfig, "--epochs", "did you mean trainer.epochs=...?"),
        (TrainConfig, "--input x", "--input: unknown flag; expected one of: --help, "),
        (PredictConfig, "runs/b docs.jsonl", "'runs/b' is no key=value; did you mean run=runs/b input=docs.jsonl?"),
        (ReportConfig, "help", "'help' is no key=value; did you mean --help?"),
        (ReportConfig, "runs/b", "did you mean run=runs/b?"),
        (ReportConfig, "runs/b runs/c", "'runs/b' is no key=value; write key=value"),
        (
            TrainConfig,
            "data=jsonl data.text_fields=[title, text] trainer.epochs=2",
            '; what has spaces is one argument in quotes: "data.text_fields=[title, text]"',
        ),
        (TrainConfig, "data.root=j", "data.root: the default of data has no such key; it is one of data=jsonl, csv, "),
        (
            TrainConfig,
            "encoder.name=x",
            "encoder.name: the default of encoder has no such key; it is one of enc",
        ),
        (
            TrainConfig,
            "encoder=bag encoder.name=x",
            "encoder.name: encoder=bag has no such key; it is one of e",
        ),
        (
            TrainConfig,
            "--multirun sparsity=set,rigl,topkast sparsity.interval=10",
            "sparsity.interval: sparsity=topkast has no such key; it is one of sparsity=set, rigl; topkast has: ",
        ),
        (
            TrainConfig,
            "trainer.devices=4",
            "trainer.devices: unknown key; several devices train one run as several ",
        ),
    ],
)
def test_what_was_meant(schema: type[Section], typed: str, told: str) -> None:
    with pytest.raises(XMCError) as refused:
        compose(typed.split(" "), schema)
    assert told in str(refused.value)


def test_a_file_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XMCError, match=r"did you mean input=docs.jsonl\?"):
        compose(["docs.jsonl"], PredictConfig)


def test_a_sweep_of_parts_that_all_have_the_key() -> None:
    with pytest.raises(XMCError, match="multirun"):  # Hydra has no sweep here; the key itself is no mistake
        compose(["sparsity=set,rigl", "sparsity.interval=10"])


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:", "cpu:0"])
def test_devices(device: str) -> None:
    with pytest.raises(XMCError, match=rf"^trainer.device: got '{device}'; give auto, cpu, cuda, or one of several"):
        parse(TrainConfig, compose([f"trainer.device={device}"]))
    assert parse(TrainConfig, compose(["trainer.device=cuda:1"])).trainer.device == "cuda:1"


def test_runs_by_a_pattern(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "no run").mkdir()
    (tmp_path / "multirun.yaml").touch()
    runs = parse(ReportConfig, compose([f"runs={tmp_path}/*"], ReportConfig)).runs
    assert runs == (f"{tmp_path}/a", f"{tmp_path}/b")
    with pytest.raises(XMCError, match="no run matches it"):
        parse(ReportConfig, compose(["runs=[no/*,x]"], ReportConfig))
