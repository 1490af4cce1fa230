"""Help and mistakes are answered before anything is imported that takes long."""

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = {"torch", "transformers", "datasets", "numba", "scipy", "numpy", "pyarrow"}
ROOT = Path(__file__).parent.parent


def loaded_by(code: str) -> tuple[set[str], str]:
    """What of the slow is loaded when the code has ended, and what it wrote to standard error."""
    at_end = f"import atexit, sys; atexit.register(lambda: print('', *{SLOW} & sys.modules.keys())); "
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


def test_sections_of_all_parts_are_light() -> None:
    every = "print(*(registry[name] for registry in registries() for name in registry.names()))"
    loaded, error = loaded_by(f"from xmc.config.choices import registries; {every}")
    assert not loaded and not error


@pytest.mark.parametrize("module", ["xmc.data.documents", "xmc.data.prepare"])
def test_what_reads_text_is_light(module: str) -> None:
    assert loaded_by(f"import {module}") == (set(), "")
