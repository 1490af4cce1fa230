"""What imports what takes long: help and mistakes are answered, and signals are heard, before anything of it."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import xmc.parts

SLOW = {"torch", "transformers", "datasets", "numba", "scipy", "numpy", "pyarrow"}
ROOT = Path(__file__).parent.parent


def loaded_by(code: str, slow: set[str] = SLOW) -> tuple[set[str], str]:
    """What of the slow is loaded when the code has ended, and what it wrote to standard error."""
    at_end = f"import atexit, sys; atexit.register(lambda: print('', *{slow} & sys.modules.keys())); "
    done = subprocess.run([sys.executable, "-c", at_end + code], cwd=ROOT, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split()), done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--help", ""),
        ("train --help", ""),
        ("traim", "did you mean 'train'?"),
        ("train data=jsonll", "data: got 'jsonll'; did you mean 'jsonl'?"),
        ("finetune from=x seedd=1", "seedd: unknown key; did you mean 'seed'?"),
        ("evaluate run=x splitt=dev", "splitt: unknown key; did you mean 'split'?"),
        ("evaluate run=x split=devv", "split: got 'devv'; did you mean 'dev'?"),
        ("evaluate run=x", "x holds no run"),
        ("predict run=x input=a.jsonl output=a.tsv", "output=a.tsv: no format of predictions has names in .tsv"),
    ],
)
def test_an_answer_needs_nothing_slow(arguments: str, told: str) -> None:
    code = f"sys.argv = {['xmc', *arguments.split()]}; from xmc.__main__ import main; main()"
    loaded, error = loaded_by(code)
    assert not loaded and told in error


def test_modules_of_commands_are_light() -> None:
    loaded, error = loaded_by("from xmc.commands import COMMANDS, load; print(*map(load, COMMANDS))")
    assert not loaded and not error


@pytest.mark.parametrize("module", ["xmc.endings", "xmc.cli"])
def test_nothing_slow_is_imported_before_signals_are_heard(module: str) -> None:
    assert loaded_by(f"import {module}", SLOW | {"hydra", "pydantic"}) == (set(), "")


def test_sections_of_all_parts_are_light() -> None:
    every = "print(*(registry[name] for registry in registries() for name in registry.names()))"
    loaded, error = loaded_by(f"from xmc.config.choices import registries; {every}")
    assert not loaded and not error


def test_modules_of_parts_are_light() -> None:
    modules = [module.name for module in pkgutil.walk_packages(xmc.parts.__path__, "xmc.parts.")]
    assert loaded_by(f"import {', '.join(modules)}") == (set(), "")


@pytest.mark.parametrize("module", ["xmc.data.documents", "xmc.data.prepare"])
def test_what_reads_text_is_light(module: str) -> None:
    assert loaded_by(f"import {module}") == (set(), "")


def test_what_help_shows_of_strategies_is_light() -> None:
    made = "print(*(SPARSITY[name]() for name in SPARSITY.names()))"
    assert loaded_by(f"from xmc.sparsity import SPARSITY; {made}") == (set(), "")
