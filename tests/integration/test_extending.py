"""Packages that bring parts of their own: those of docs/extend.md, installed as a user would."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Run, small
from in_process import Finished

HOW_TO = (Path(__file__).parents[2] / "docs" / "extend.md").read_text()


def files_of(section: str) -> dict[str, str]:
    """The files that a section of the how-to shows, by their names."""
    text = HOW_TO.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", text, re.DOTALL))


def installed(section: str, factory: pytest.TempPathFactory) -> Path:
    """Where the package of a section of the how-to is installed."""
    package, target = factory.mktemp("package"), factory.mktemp("installed")
    for name, text in files_of(section).items():
        (package / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(package)], check=True)
    return target


IN_TURN = """
import json, sys
from in_process import run
print(json.dumps([vars(run(*arguments, check=False)) for arguments in json.load(sys.stdin)]))
"""


def run(target: Path, cwd: Path, *commands: list[object]) -> list[Finished]:
    """Commands of xmc, one after the other in a process of their own, which finds what is installed there."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(target), *sys.path])}
    given = json.dumps([[*map(str, arguments)] for arguments in commands])
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN], cwd=cwd, env=env, input=given, stdout=subprocess.PIPE, text=True, check=True
    )
    return [Finished(**one) for one in json.loads(done.stdout)]


def test_a_strategy_of_ones_own_trains_and_is_measured(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, tmp_path: Path, xmc: Run
) -> None:
    chosen = ["sparsity=sensitivity", "sparsity.interval=5", "trainer.max_steps=20", "trainer.log_every=5"]
    help, trained, measured = run(
        installed("A strategy", tmp_path_factory),
        tmp_path,
        ["train", "--help", "sparsity=sensitivity"],
        ["train", *small(corpus, "run=mine", *chosen)],
        ["evaluate", "run=mine"],
    )
    assert "static | set | rigl | topkast | sensitivity" in " ".join(help.stdout.split())
    assert re.search(r"sparsity.stop=0.66 +of the training steps", help.stdout)
    assert trained.returncode == 0, trained.stderr
    lines = [json.loads(line) for line in (tmp_path / "mine" / "log.jsonl").read_text().splitlines()]
    assert max(line.get("grown", 0) for line in lines) > 0
    assert measured.returncode == 0, measured.stderr
    alone = xmc("evaluate", "run=mine", cwd=tmp_path, check=False)
    assert "sparsity.kind: got 'sensitivity'; expected one of: rigl, set, static, topkast" in alone.stderr


def test_a_format_of_ones_own_is_read(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, tmp_path: Path, xmc: Run
) -> None:
    for split in ("train", "test"):
        records = map(json.loads, (corpus / f"{split}.jsonl").read_text().splitlines())
        lines = [f"{' '.join(record['labels'])}: {record['text']}\n" for record in records]
        (tmp_path / f"{split}.lines").write_text("no sign\n" + "".join(lines))
    data = ["data=lines", "data.root=.", "data.cache_dir=cache"]
    short = ["data.on_error=skip", "trainer.max_steps=20", "lexical=none", "run=mine"]
    misspelt, strict, trained, measured = run(
        installed("A data format", tmp_path_factory),
        tmp_path,
        ["train", *data, "data.sing=x"],
        ["prepare", *data],
        ["train", *small(corpus, *data, *short)],
        ["evaluate", "run=mine"],
    )
    assert "data.sing: unknown key; did you mean 'data.sign'?" in misspelt.stderr
    assert "train.lines:1: expected `label label: text`" in strict.stderr
    assert trained.returncode == 0, trained.stderr
    assert measured.returncode == 0 and "60 documents" in measured.stdout, measured.stderr
    assert "data.kind: got 'lines'" in xmc("evaluate", "run=mine", cwd=tmp_path, check=False).stderr


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("1 / 0", "cannot be imported (division by zero); mend or remove the package"),
        ("BrokenSparsity = 3", "is 3; expected a subclass of xmc.sparsity.strategy.SparsitySection"),
    ],
)
def test_a_broken_package_is_named(tmp_path: Path, code: str, told: str) -> None:
    (tmp_path / "broken.py").write_text(code)
    info = tmp_path / "xmc_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xmc-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xmc.sparsity]\nbroken = broken:BrokenSparsity\n")
    failed, others = run(
        tmp_path,
        tmp_path,
        ["train", "sparsity=broken"],
        ["train", "--help", "sparsity=rigl", "sparsity.initial=0.25"],
    )
    assert failed.returncode == 1
    assert "sparsity=broken of the package xmc-broken" in failed.stderr and told in failed.stderr
    assert "sparsity.initial=0.25" in others.stdout
