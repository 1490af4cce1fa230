"""What a user types is taken as it is typed."""

from pathlib import Path

import pytest

from xmc.commands.evaluate import EvaluateConfig
from xmc.commands.predict import PredictConfig
from xmc.commands.report import ReportConfig
from xmc.config import TrainConfig, parse
from xmc.config.arguments import overrides_of
from xmc.config.compose import compose
from xmc.errors import XMCError

PREDICT = ["run=r", "input=i"]
ODD = [
    *("Bücher.jsonl", "runs/lr=0.1", "books (1).jsonl", "a;b", "it's", "a,b", "a b ", "[x]", "{y}", "a#b", "~x", "a:b"),
    *("$HOME", "${x", "${}", "a\\b", "c:\\", "100%", "1e5", "007", "true", 'a"b', "x'y'", "'", "*.jsonl", "a\nb"),
]


@pytest.mark.parametrize("first", range(0, len(ODD), 5))
def test_a_text_may_have_any_characters(first: int) -> None:
    some = ODD[first : first + 5]
    keys = ("run", "input", "output", "filter", "device")[: len(some)]
    given = [f"{key}={text}" for key, text in zip(keys, some, strict=True)]
    values = compose([*PREDICT[len(some) :], *given], PredictConfig)
    assert [values[key] for key in keys] == some


def test_what_is_quoted_null_or_an_interpolation_is_no_text() -> None:
    values = compose(["run='a b'", "input=${run}/x", "filter=null", "output=\\${run}"], PredictConfig)
    assert (values["run"], values["input"], values["filter"], values["output"]) == ("a b", "a b/x", None, "${run}")


def test_lists_of_texts() -> None:
    values = compose([*PREDICT, "text_fields=[Título, a=1,b (2)]"], PredictConfig)
    assert values["text_fields"] == ["Título", "a=1", "b (2)"]
    assert compose([*PREDICT, "text_fields=['a,b',c]"], PredictConfig)["text_fields"] == ["a,b", "c"]


@pytest.mark.parametrize("given", ["body", "Título (a=1), b", "'body'", "[body]"])
def test_one_text_is_a_list_of_one(given: str) -> None:
    text = given.strip("'[]")
    assert parse(PredictConfig, compose([*PREDICT, f"text_fields={given}"], PredictConfig)).text_fields == (text,)
    assert parse(ReportConfig, compose([f"runs={given}"], ReportConfig)).runs == (text,)
    for_training = compose(["data=csv", "data.root=r", f"data.text_fields={given}"])
    assert parse(TrainConfig, for_training).data.text_fields == (text,)


def test_a_sweep_over_lists_of_one() -> None:
    swept = ["--multirun", "data=csv", "data.text_fields=title,text"]
    assert overrides_of(TrainConfig, swept) == swept


@pytest.mark.parametrize("given", ["", "null"])
def test_what_is_no_list_is_refused(given: str) -> None:
    with pytest.raises(XMCError, match=r"^data.packages: got .*; expected a list: data.packages=\[...\]$"):
        parse(TrainConfig, compose([f"data.packages={given}"]))


@pytest.mark.parametrize("given", ["[5,1]", "[1,1]", "[1,3,2]"])
def test_cut_offs_ascend(given: str) -> None:
    with pytest.raises(XMCError, match=r"^metrics.ks: got \[.*\]; cut-offs should ascend, each standing once$"):
        parse(TrainConfig, compose([f"metrics.ks={given}"]))
    assert parse(TrainConfig, compose(["metrics.ks=5"])).metrics.ks == (5,)


@pytest.mark.parametrize("given", [r"\n", r'"\n"', r"'\n'"])
def test_a_separator_may_be_escaped(given: str) -> None:
    assert compose([*PREDICT, f"text_separator={given}"], PredictConfig)["text_separator"] == "\n"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("hydra.callbacks.x._target_=os.getcwd", "hydra.callbacks.x._target_: no setting of xmc"),
        ("+hydra.callbacks.x._target_=os.getcwd", "hydra.callbacks.x._target_: no setting of xmc"),
        ("hydra.launcher._target_=os.getcwd", "hydra.launcher._target_: no setting of xmc"),
        ("hydra/launcher=basic", "hydra/launcher: got 'basic'; expected one of: submitit_local, submitit_slurm"),
        ("hydra/launcher=submitit_slurm", "hydra/launcher=submitit_slurm starts the runs of a sweep; add --multirun"),
        ("hydra/launcher@x=submitit_slurm", "hydra/launcher@x: no setting of xmc"),
        ("hydra.searchpath=[/tmp]", "hydra.searchpath: no setting of xmc"),
        ("hydra.run.dir=elsewhere", "hydra.run.dir: no setting of xmc"),
        ("--config-dir=/tmp", "--config-dir: unknown flag"),
        ("--config-d=/tmp", "--config-d: unknown flag"),
        ("-cp", "-cp: unknown flag"),
        ("--experimental-rerun=x.pickle", "--experimental-rerun: unknown flag"),
        ("--cfg=x", "--cfg: got 'x'; expected one of: job, hydra, all"),
        ("-c", "--cfg: got ''; expected one of: job, hydra, all"),
        ("--resolve", "--resolve belongs to --cfg; add --cfg job"),
        ("foo", "'foo' is no key=value"),
        ("=foo", "'=foo' is no key=value"),
        ("k=((", r"'k=((' cannot be read"),
        (f"k=1{5000 * '0'}", "cannot be read (Exceeds the limit"),
        ("input=${oc.env:XMC_HAS_NONE}", "input: KeyError raised while resolving interpolation"),
        ("input=${nowhere}", "input: Interpolation key 'nowhere' not found"),
        ("inptu=x", "inptu: unknown key; did you mean 'input'?"),
        ("encoder=bag", "encoder: a run has chosen it"),
    ],
)
def test_what_is_refused(argument: str, told: str) -> None:
    with pytest.raises(XMCError) as error:
        compose([*PREDICT, argument], PredictConfig)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "seed=18446744073709551616",
        "trainer.max_steps=1" + 30 * "0",
        "trainer.batch_size=1000000000000",
        "trainer.threads=100000",
        "trainer.epochs=inf",
        "trainer.epochs=nan",
        "encoder.lr=1e39",
        "encoder.width=1e12",
        "metrics.ks=[1000000000000]",
        "run=",
    ],
)
def test_numbers_are_bounded_at_the_door(given: str) -> None:
    with pytest.raises(XMCError, match=rf"^{given.partition('=')[0]}[.0-9]*: got"):
        parse(TrainConfig, compose([given]))


def test_the_largest_seed() -> None:
    assert parse(TrainConfig, compose([f"seed={2**64 - 1}"])).seed == 2**64 - 1


@pytest.mark.parametrize("given", ["data.files.train=a,b.jsonl", "+data.files.train='a,b.jsonl'"])
def test_files_of_splits(given: str) -> None:
    config = parse(TrainConfig, compose(["data=jsonl", "data.root=r", given]))
    assert config.data.files.given() == {"train": "a,b.jsonl"}


def test_the_data_of_a_run_may_be_elsewhere() -> None:
    config = parse(EvaluateConfig, compose(["run=r", "data.root=a b", "data.files.train=x"], EvaluateConfig))
    assert config.data == {"root": "a b", "files": {"train": "x"}}


def test_without_a_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(XMCError, match="~/x: there is no home directory; set HOME"):
        compose(["run=~/x", "input=i"], PredictConfig)
