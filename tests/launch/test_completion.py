"""What shells offer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xmc.errors import XMCError
from xmc.launch.completion import SHELLS, candidates, completion


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", ["add-labels", "blend", "calibrate"]),
        ("tr", ["train"]),
        ("train trainer.ep", ["trainer.epochs="]),
        ("train data=js", ["data=jsonl"]),
        ("train data=csv data.text_f", ["data.text_fields="]),
        ("train encoder=transformer encoder.poo", ["encoder.pooling="]),
        ("train encoder.poo", []),
        ("train classifier/opt", ["classifier/optimizer="]),
        ("train resume=", ["resume=false", "resume=true"]),
        (
            "train trainer.schedule=",
            ["trainer.schedule=constant", "trainer.schedule=cosine", "trainer.schedule=linear"],
        ),
        ("evaluate split=", ["split=dev", "split=test", "split=train"]),
        ("evaluate run=", []),
        ("train --mu", ["--multirun"]),
        ("nothing run", []),
    ],
)
def test_candidates(typed: str, told: list[str]) -> None:
    assert candidates(typed.split(" "))[: len(told) or None] == told


def test_keys_are_completed_to_their_next_dot() -> None:
    found = candidates(["train", ""])
    assert {"run=", "data=", "data.", "trainer.", "experiment="} <= set(found)
    assert not [one for one in found if one.count(".") > one.endswith(".")]


def test_an_unknown_shell() -> None:
    with pytest.raises(XMCError, match="got 'tcsh'; expected one of: bash, fish, zsh"):
        completion(["tcsh"])


def test_bash_completes_keys_and_leaves_files_to_itself(tmp_path: Path) -> None:
    command = tmp_path / "xmc"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m xmc "$@"\n')
    command.chmod(0o755)

    def offered(line: str) -> list[str]:
        asked = (
            f'{SHELLS["bash"]}\nCOMP_LINE="{line}"; COMP_POINT={len(line)}; _xmc 2>/dev/null; echo "${{COMPREPLY[@]}}"'
        )
        env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", asked], env=env, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert offered("xmc eva") == ["evaluate"]
    assert offered("xmc train data=bo") == ["bow"]
    assert offered("xmc train data.root=cor") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(shell: str) -> None:
    if (found := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([found, "-n"], input=SHELLS[shell], text=True, check=True)
