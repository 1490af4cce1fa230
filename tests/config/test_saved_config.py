"""What is read back from a run is data, or refused in one line."""

import os
from pathlib import Path

import pytest

from xmc.commands.predict import PredictConfig
from xmc.config import FinetuneConfig, TrainConfig, load_run_config, parse, resumed_values, to_yaml, with_old_data
from xmc.config.arguments import as_override
from xmc.config.compose import compose
from xmc.errors import XMCError


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return parse(TrainConfig, compose(["data=jsonl", "data.root=r", "run=here"]))


@pytest.fixture
def run(tmp_path: Path, config: TrainConfig) -> Path:
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    ["${oc.env:HOME}", "${", r"\${run}", "1e-3", "null", "007", "é\u2028", "a: b # c", "&a *a", "", "\udcff"],
)
def test_every_text_comes_back_as_it_is(run: Path, config: TrainConfig, text: str) -> None:
    given = config.model_copy(update={"data": config.data.model_copy(update={"id_field": text})})
    (run / "config.yaml").write_text(to_yaml(given), encoding="utf-8")
    assert load_run_config(run) == given


def test_a_value_from_python_or_a_card_is_no_interpolation() -> None:
    given = [as_override("run", "${oc.env:HOME}"), "input=i"]
    assert compose(given, PredictConfig)["run"] == "${oc.env:HOME}"


def test_an_interpolation_is_not_resolved(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "7")
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: ${oc.env:SECRET}"))
    with pytest.raises(XMCError, match=r"config.yaml: seed: got '\$\{oc.env:SECRET\}'"):
        load_run_config(run)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [1, 1]\nb: [*a, *a]\n", "an alias, line 2"),
        ("x: " + "[" * 5000, "nested too deep"),
        ("x: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("seed: " + "9" * 5000, "Exceeds the limit"),
        ("a: [\nb: c", "config.yaml cannot be read"),
        ("- 1\n", "not the configuration of a run"),
        ("", "not the configuration of a run"),
        (b"x: \xe9\xff\n", "unacceptable character"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 3\n", "is a Git-LFS pointer"),
        ("seed: 1\nx: 2\nseed: 3\n", "'seed' stands twice, line 3"),
        ("x" * (1 << 21), "larger than"),
    ],
)
def test_what_is_no_configuration(run: Path, text: str | bytes, told: str) -> None:
    (run / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(XMCError) as error:
        load_run_config(run)
    assert told in str(error.value) and str(run / "config.yaml") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_in_its_place(run: Path) -> None:
    (run / "config.yaml").unlink()
    os.mkdir(run / "config.yaml")
    with pytest.raises(XMCError, match="Is a directory"):
        load_run_config(run)


def test_data_that_moved(run: Path) -> None:
    config = load_run_config(run, {"root": "there", "files": {"dev": "d.jsonl"}})
    assert config.data.root == "there" and config.data.files.given() == {"dev": "d.jsonl"}
    with pytest.raises(XMCError, match=r"data.rot: unknown key; did you mean 'data.root'"):
        load_run_config(run, {"rot": "there"})
    for key, value in {"dev_fraction": 0.9, "id_field": None, "kind": "csv"}.items():
        with pytest.raises(XMCError, match=rf"another configuration \(data.{key}: the run has "):
            load_run_config(run, {key: value})


def test_a_run_goes_on_with_data_that_moved(run: Path) -> None:
    now = compose([f"run={run}", "data=jsonl", "data.root=there", "data.files.dev=d.jsonl"])
    values = resumed_values(now, ["run", "data", "data.root", "data.files.dev"])
    assert values["data"]["root"] == "there" and values["data"]["files"]["dev"] == "d.jsonl" and values["resume"]
    with pytest.raises(XMCError, match="seed: the run has 0, now given 1"):
        resumed_values(now | {"seed": 1}, ["seed"])
    with pytest.raises(XMCError, match=r"data.dev_fraction: the run has 0.1, now given 0.5"):
        resumed_values(now | {"data": now["data"] | {"dev_fraction": 0.5}}, ["data.dev_fraction"])


def test_the_counts_of_a_benchmark_are_not_asked_of_old_data(tmp_path: Path) -> None:
    given = ["data=eurlex-4k", "from=a", f"replay={tmp_path}", "run=r"]
    config = parse(FinetuneConfig, compose(given, FinetuneConfig))
    (old,) = with_old_data(config).old_data
    assert config.data.benchmark is not None and old == config.data.model_copy(
        update={"root": str(tmp_path), "benchmark": None}
    )


def test_a_run_goes_on_with_other_threads(run: Path) -> None:
    now = compose([f"run={run}", "trainer.threads=3", "trainer.batch_size=3"])
    assert resumed_values(now, ["trainer.threads"])["trainer"]["threads"] == 3
    assert resumed_values(now, ["run"])["trainer"]["threads"] is None
    with pytest.raises(XMCError, match=r"trainer.batch_size: the run has 64, now given 3"):
        resumed_values(now, ["trainer.threads", "trainer.batch_size"])
