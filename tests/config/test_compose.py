"""Configurations are composed from any thread, and inside an application of Hydra."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase

import xmc.config.choices as module
from xmc.commands.predict import PredictConfig
from xmc.config.compose import compose
from xmc.errors import XMCError


def test_from_many_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        given = (["run=r", "input=i", f"k={seed}"] for seed in range(1, 9))
        seeds = list(pool.map(lambda one: compose(one, PredictConfig)["k"], given))
    assert seeds == list(range(1, 9))


def test_inside_an_application_of_hydra(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("mine: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        before, base = GlobalHydra.instance(), VersionBase.instance().getbase()
        assert compose(["run=r", "input=i"], PredictConfig)["run"] == "r"
        assert GlobalHydra.instance() is before and VersionBase.instance().getbase() == base
        assert hydra_compose("app").mine == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [("seed: 1\nseed: 2\n", "found duplicate key seed"), ("seed: [\n", "while parsing a flow"), ("seed: ${\n", "seed")],
)
def test_mistakes_in_a_yaml_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    monkeypatch.setattr(module, "conf_folder", lambda: tmp_path)
    with pytest.raises(XMCError, match=told) as error:
        compose(["experiment=mine"])
    assert "\n" not in str(error.value)
