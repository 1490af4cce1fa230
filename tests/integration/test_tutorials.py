"""The tutorials, from their first line to their last: the blocks of Python and the commands, as they stand there."""

import re
import shlex
from pathlib import Path

import pytest
from harness import Run

from xmc.commands import load
from xmc.config.compose import compose

DOCS = Path(__file__).parents[2] / "docs"
STEP = re.compile(r"^```python\n(?P<python>.*?)^```|^    (?P<command>xmc [^\n]*)$", re.DOTALL | re.MULTILINE)


def follow(page: str, xmc: Run, folder: Path) -> dict[str, object]:
    """Do what a page says; what has no end is left out. Returns what its Python has named."""
    names: dict[str, object] = {}
    for step in STEP.finditer((DOCS / page).read_text()):
        if step["python"] is not None:
            exec(compile(step["python"], page, "exec"), names)
        elif not step["command"].startswith("xmc serve"):
            xmc(*shlex.split(step["command"])[1:], cwd=folder)
    return names


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_library(newcomer: Path, xmc: Run) -> None:
    follow("tutorials/library.md", xmc, newcomer)
    assert (newcomer / "runs/library/report-dev.html").is_file()
    assert xmc("predict", "run=runs/library", "text=honey swarm", "k=1", cwd=newcomer).stdout.count("/bees") == 1


@pytest.mark.slow
def test_a_product_table(newcomer: Path, xmc: Run) -> None:
    names = follow("tutorials/products.md", xmc, newcomer)
    assert isinstance(names["score"], float) and names["score"] > 0.8
    assert (newcomer / "models/products/xmc.json").is_file()


@pytest.mark.slow
def test_a_comparison(newcomer: Path, xmc: Run) -> None:
    pytest.importorskip("matplotlib")
    follow("tutorials/comparison.md", xmc, newcomer)
    assert len((newcomer / "paper.csv").read_text().splitlines()) == 11
    assert (newcomer / "paper.png").is_file() and (newcomer / "paper.html").is_file()


@pytest.mark.parametrize("page", ["amazon-3m.md", "docker.md", "migrate.md"])
def test_commands_that_take_long_are_at_least_commands(page: str) -> None:
    """Of the pages whose data is not here."""
    text = re.sub(r"\\\n +", "", (DOCS / page).read_text())
    commands = re.findall(r"^    (?:docker run .*? xmc(?:-cuda)? |xmc )([a-z]+ [a-z_.]+=.*)$", text, re.MULTILINE)
    assert commands
    for name, *words in map(shlex.split, commands):
        compose(words, load(name).schema)
