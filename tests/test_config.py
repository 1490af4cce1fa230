"""Every part and preset composes and passes the schema; every mistake gets one clear line."""

import functools
import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from xmc.commands.add_labels import AddLabelsConfig
from xmc.commands.blend import BlendConfig
from xmc.commands.calibrate import CalibrateConfig
from xmc.commands.coordinate_check import CoordinateCheckConfig
from xmc.commands.estimate import EstimateConfig
from xmc.commands.evaluate import EvaluateConfig
from xmc.commands.predict import PredictConfig
from xmc.config import FinetuneConfig, Section, TrainConfig, parse
from xmc.config.arguments import as_override, overrides_of
from xmc.config.choices import conf_folder, options_of, registries
from xmc.config.nodes import ROOT, registered
from xmc.data import DATA
from xmc.errors import XMCError


def composed(*overrides: str, schema: type[Section] = TrainConfig) -> dict[str, Any]:
    with registered(schema), initialize_config_dir(str(conf_folder().absolute()), version_base="1.3"):
        return OmegaConf.to_container(compose(ROOT, overrides=list(overrides)), resolve=True)  # type: ignore[return-value]


TRANSFORMER = ["encoder=transformer", "encoder.name=there", "sparse_ift.layers=[encoder]"]


def presets() -> list[tuple[str, str]]:
    folder = conf_folder()
    return [
        path.relative_to(folder).with_suffix("").as_posix().split("/", 1) for path in sorted(folder.rglob("*.yaml"))
    ]  # type: ignore[misc]


def parts() -> list[tuple[str, str]]:
    return [(registry.group, name) for registry in registries() for name in registry.names()]


NEEDED = {
    "encoder=transformer": ["encoder.name=there"],
    "encoder=sparse_features": ["data=bow", "data.root=there"],
    "data=bow": ["encoder=sparse_features"],
    "data=hf": ["data.name=there"],
    **{f"sparse_ift={kind}": ["intermediate=linear"] for kind in ("wide", "parallel", "factorized", "doped")},
}


@pytest.mark.parametrize(("group", "name"), parts())
def test_every_part_passes_the_schema_with_its_defaults(group: str, name: str) -> None:
    root = ["data.root=there"] if group == "data" and "root" in DATA[name].model_fields else []
    config = parse(TrainConfig, composed(f"{group}={name}", *NEEDED.get(f"{group}={name}", []), *root))
    found = functools.reduce(getattr, group.split("/"), config)
    assert found.kind == name
    required = {"root": "there", "name": "there"}
    defaults = type(found)(**{key: required[key] for key, f in type(found).model_fields.items() if f.is_required()})
    assert found.model_dump() == defaults.model_dump()


@pytest.mark.parametrize(("group", "choice"), presets())
def test_every_preset_passes_the_schema(group: str, choice: str) -> None:
    text = (conf_folder() / group / f"{choice}.yaml").read_text()
    root = ["data.root=there"] if re.search("override /data: (jsonl|lightxml)", text) or "root: ???" in text else []
    name = ["encoder.name=there"] if "name: ???" in text else []
    config = parse(TrainConfig, composed(f"{group}={choice}", *root, *name))
    if group == "data":
        assert config.data.published is not None and config.data.published.name == choice


# train, test, labels, propensity A and B, as the papers have them
PUBLISHED = {
    "eurlex-4k": (15_449, 3_865, 3_956, 0.55, 1.5),
    "wiki10-31k": (14_146, 6_616, 30_938, 0.55, 1.5),
    "amazoncat-13k": (1_186_239, 306_782, 13_330, 0.55, 1.5),
    "amazon-670k": (490_449, 153_025, 670_091, 0.6, 2.6),
    "wiki-500k": (1_779_881, 769_421, 501_070, 0.5, 0.4),
    "amazon-3m": (1_717_899, 742_507, 2_812_281, 0.6, 2.6),
    "lf-amazontitles-131k": (294_805, 134_835, 131_073, 0.6, 2.6),
    "lf-amazontitles-1.3m": (2_248_619, 970_237, 1_305_265, 0.6, 2.6),
    "lf-wikiseealso-320k": (693_082, 177_515, 312_330, 0.55, 1.5),
    "eurlex57k": (45_000, 6_000, 4_271, 0.55, 1.5),
}


@pytest.mark.parametrize("choice", PUBLISHED)
def test_a_benchmark_is_its_reader_with_figures_of_its_own(choice: str) -> None:
    config = parse(TrainConfig, composed(f"data={choice}"))
    known, metrics = config.data.published, config.metrics
    assert known is not None
    figures = (known.train, known.test, known.labels, metrics.propensity_a, metrics.propensity_b)
    assert figures == PUBLISHED[choice]
    reader = parse(TrainConfig, composed(f"data={config.data.kind}", f"data.root=data/{choice}"))
    of_the_set = {"benchmark"} | ({"text_fields", "id_field", "label_field"} if choice == "eurlex57k" else set())
    assert config.data.model_dump(exclude=of_the_set) == reader.data.model_dump(exclude=of_the_set)
    assert metrics.ks == reader.metrics.ks


@pytest.mark.parametrize(("choice", "folder"), [("pydoc", "runs/pydoc-bag"), ("wiki10-31k", "runs/wiki10-31k-bag")])
def test_each_benchmark_has_a_run_folder_of_its_own(choice: str, folder: str) -> None:
    assert parse(TrainConfig, composed(f"data={choice}")).run == folder


def test_a_propensity_of_ones_own() -> None:
    assert parse(TrainConfig, composed("data=amazon-3m", "metrics.propensity_a=0.7")).metrics.propensity_a == 0.7


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("url='file:///etc/passwd'", "data.benchmark.url: got 'file:///etc/passwd'"),
        ("sha256=abc", "data.benchmark.sha256: got 'abc'"),
        ("train=0", "data.benchmark.train: got 0"),
    ],
)
def test_mistakes_in_a_benchmark(override: str, told: str) -> None:
    with pytest.raises(XMCError) as error:
        parse(TrainConfig, composed("data=eurlex-4k", f"data.benchmark.{override}"))
    assert told in str(error.value)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("classifier", ["dense", "fixed_fan_in"])
def test_classifier_optimizers(classifier: str, optimizer: str) -> None:
    config = parse(TrainConfig, composed(f"classifier={classifier}", f"classifier/optimizer={optimizer}"))
    assert config.classifier.optimizer.kind == optimizer


def test_other_commands_pass_their_schema() -> None:
    assert parse(EvaluateConfig, composed("run=r", schema=EvaluateConfig)).split == "test"
    assert parse(CalibrateConfig, composed("run=r", schema=CalibrateConfig)).k == 20
    blend = parse(
        BlendConfig,
        composed(*overrides_of(BlendConfig, ["run=r", "runs=a", "scores.x.dev=b, {c}"]), schema=BlendConfig),
    )
    assert blend.runs == ("a",) and blend.scores["x"].dev == "b, {c}" and blend.nearest == 20
    assert [blend.name_of(run) for run in ("a", "elsewhere/x", "neighbours")] == [
        "a",
        str(Path("elsewhere/x").absolute()),
        str(Path("neighbours").absolute()),
    ]
    assert parse(PredictConfig, composed("run=r", "input=-", schema=PredictConfig)).threshold is None
    assert parse(EstimateConfig, composed("device_memory=8GiB", schema=EstimateConfig)).device_memory == "8GiB"
    finetune = parse(FinetuneConfig, composed("from=r", schema=FinetuneConfig))
    assert finetune.source == "r" and not finetune.keep_labels and finetune.trainer.epochs == 8
    assert parse(AddLabelsConfig, composed("run=r", "input=i", "output=o", schema=AddLabelsConfig)).names is None
    check = parse(CoordinateCheckConfig, composed(schema=CoordinateCheckConfig))
    assert check.parametrization.kind == "supar" and check.check.fan_ins == (16, 32, 64, 128, 256)


@pytest.mark.parametrize("value", ["auto", 0, 0.25, 1, None])
def test_thresholds(value: object) -> None:
    given = composed("run=r", "input=-", as_override("threshold", value), schema=PredictConfig)
    assert parse(PredictConfig, given).threshold == value


@pytest.mark.parametrize(
    "value", [3, 2.5e-4, True, None, "a", "it's, {odd}=\\", "two\nlines", ["a b", "c,d"], [1, 2], "é"]
)
def test_values_become_overrides(value: object) -> None:
    assert composed(as_override("+new", value))["new"] == value


@pytest.mark.parametrize("choice", PUBLISHED)
def test_a_recommendation_is_of_its_set_and_takes_any_size(choice: str) -> None:
    for size in ("8gb", "80gb"):
        config = parse(TrainConfig, composed(f"experiment=[recommended/{choice},gpu/{size}]"))
        assert config.data.published is not None and config.data.published.name == choice
        assert config.trainer.device == "cuda"
        assert config.caution is not None


def test_what_nobody_has_trained_says_so() -> None:
    published = [name for name in options_of("experiment") if name.startswith(("published/", "recommended/"))]
    assert len(published) > 10
    for name in published:
        assert "nobody has trained" in parse(TrainConfig, composed(f"experiment={name}")).caution
    assert parse(TrainConfig, composed("experiment=set")).caution is None


def test_defaults_are_the_demo() -> None:
    assert composed() == composed("data=pydoc", "encoder=bag")


def test_all_mistakes_are_told_at_once() -> None:
    values = composed()
    values["trainer"]["bach_size"] = values["trainer"].pop("batch_size")
    values["classifier"]["fan_in"] = 0
    values["sparsity"]["kind"] = "sett"
    values["loss"] = "bse"
    with pytest.raises(XMCError) as error:
        parse(TrainConfig, values)
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    assert any("trainer.bach_size: unknown key; did you mean 'trainer.batch_size'?" in line for line in lines)
    assert any("classifier.fan_in: got 0; input should be greater than or equal to 1" in line for line in lines)
    assert any("sparsity.kind: got 'sett'; did you mean 'set'?" in line for line in lines)
    assert any("loss: got 'bse'; did you mean 'bce'?" in line for line in lines)


def test_micro_batch_beyond_batch() -> None:
    with pytest.raises(XMCError, match=r"trainer.micro_batch_size=128 is larger than trainer.batch_size=64"):
        parse(TrainConfig, composed("trainer.micro_batch_size=128", "trainer.batch_size=64"))


def test_only_log_odds_are_adjusted() -> None:
    wanted = "trainer.logit_adjustment=0.2"
    parse(TrainConfig, composed(wanted))
    with pytest.raises(XMCError, match=r"trainer.logit_adjustment adjusts log-odds, and loss=squared_hinge has none"):
        parse(TrainConfig, composed(wanted, "loss=squared_hinge"))


def test_weights_of_bfloat16_need_sgd_in_place() -> None:
    wanted = "classifier.weight_dtype=bfloat16"
    parse(TrainConfig, composed(wanted, "classifier/optimizer=sgd"))
    for optimizer in (
        ["classifier/optimizer=sgd", "classifier.optimizer.momentum=0.9"],
        ["classifier/optimizer=adamw"],
    ):
        with pytest.raises(XMCError, match=f"{wanted} needs an update that rounds stochastically.*momentum=0"):
            parse(TrainConfig, composed(wanted, *optimizer))


@pytest.mark.parametrize("encoder", ["bag", "transformer"])
def test_an_encoder_of_text_is_given_text(encoder: str) -> None:
    with pytest.raises(
        XMCError, match=f"data=bow holds sparse features, and encoder={encoder} reads text; add encoder="
    ):
        parse(
            TrainConfig,
            composed(
                "data=bow",
                "data.root=there",
                f"encoder={encoder}",
                *([] if encoder == "bag" else ["encoder.name=there"]),
            ),
        )


def test_an_encoder_of_sparse_features_is_given_these() -> None:
    with pytest.raises(
        XMCError, match=r"reads the numbers of data=bow, and data=pydoc holds text; take encoder=bag or"
    ):
        parse(TrainConfig, composed("encoder=sparse_features"))


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["sparse_ift=wide"], "add intermediate=linear"),
        (["sparse_ift=wide", "intermediate=linear", "sparsity=topkast"], "take sparsity=rigl, set or static"),
        (["sparse_ift=wide", "sparse_ift.layers=[encoder]"], "take encoder=transformer"),
        ([*TRANSFORMER, "sparse_ift=doped", "encoder.frozen=true"], "a frozen encoder would be pruned"),
        ([*TRANSFORMER, "sparse_ift=wide", "sparsity=static"], "that only a strategy connects"),
    ],
    ids=str,
)
def test_sparse_ift_is_refused_where_it_cannot_learn(overrides: list[str], message: str) -> None:
    with pytest.raises(XMCError, match=message):
        parse(TrainConfig, composed(*overrides))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("data.root=~/texts", f"data.root='{Path.home()}/texts'"),
        ("run=~", f"run='{Path.home()}'"),
        ("run=runs/~a", "run='runs/~a'"),
        ("~tracking", "~tracking"),
        ("--help", "--help"),
    ],
)
def test_the_home_directory(given: str, expected: str) -> None:
    assert sorted(overrides_of(TrainConfig, [given])) == [expected]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["runs=[a]"], "a blend takes two rankings or more: runs=[a,b], scores.NAME.dev=FILE"),
        (["runs=[a,a]"], "runs: a run stands twice in a, a"),
        (["scores.x.dev=f", "scores.y.dev=f"], "give a run, as runs=[...] or neighbours=..."),
        (["runs=[a]", "scores.x.test=f"], "scores.x.dev: is missing; give it as scores.x.dev=..."),
        (["runs=[a]", "scores.x.dve=f"], "scores.x.dve: unknown key; did you mean 'scores.x.dev'?"),
        (["runs=[a]", "scores.neighbours.dev=f"], "scores.neighbours: that name is taken"),
        (["neighbours=a", "runs=[b]", "nearest=0"], "nearest: got 0"),
    ],
)
def test_mistakes_in_a_blend(given: list[str], told: str) -> None:
    with pytest.raises(XMCError) as error:
        parse(BlendConfig, composed(*overrides_of(BlendConfig, ["run=r", *given]), schema=BlendConfig))
    assert told in str(error.value)
