"""`--help` of a command."""

import re

import pytest

from xmc.commands import COMMANDS, load
from xmc.commands.evaluate import EvaluateConfig
from xmc.config import TrainConfig
from xmc.config.compose import values_under
from xmc.config.help import help_text
from xmc.config.keys import keys_of

KEY = re.compile(r"^  ([\w./]+)=", re.MULTILINE)


def shown(name: str) -> str:
    command = load(name)
    return help_text(f"xmc {name}", command.schema, command.often, command.parts)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_key_once_and_none_that_the_command_lacks(name: str) -> None:
    keys = KEY.findall(shown(name))
    known = keys_of(load(name).schema)
    assert len(set(keys)) == len(keys)
    assert all(key.replace("/", ".") in known or key in ("experiment", "data.KEY") or "NAME" in key for key in keys)
    assert all(len(line) <= 120 for line in shown(name).splitlines())


@pytest.mark.parametrize(
    ("name", "first"),
    [("train", "data"), ("finetune", "from"), ("evaluate", "run"), ("predict", "run"), ("prepare", "data")],
)
def test_what_is_used_most_stands_first(name: str, first: str) -> None:
    assert KEY.findall(shown(name))[0] == first


def test_a_line_has_default_choices_and_comment() -> None:
    text = help_text("xmc evaluate", EvaluateConfig)
    assert re.search(r"^  run=\.\.\. +folder of a run$", text, re.MULTILINE)
    assert re.search(r"^  split=test +train \| dev \| test$", text, re.MULTILINE)
    assert "encoder" not in text


def test_a_command_that_reads_a_run_lists_no_parts() -> None:
    assert "experiment" not in shown("predict") and "data.KEY=..." in shown("evaluate")
    estimate = KEY.findall(shown("estimate"))
    assert "device_memory" in estimate and "trainer.epochs" not in estimate
    assert all(key.startswith("data") for key in KEY.findall(shown("prepare")))


def test_overrides_decide_what_is_shown() -> None:
    chosen = values_under(["data=csv", "encoder=transformer", "trainer.epochs=3"], TrainConfig)
    text = help_text("xmc train", TrainConfig, values=chosen)
    assert "  data.root=...  " in text and "  encoder.pooling=" in text and "trainer.epochs=3 " in text
    assert "  run=runs/csv-transformer " in text
    assert "\nencoder=bag:" not in text
