"""Where compiled kernels are kept: whoever can write there can run code here."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xmc.ops import compiled


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own and an own folder for temporary files, which others may write to as to /tmp."""
    monkeypatch.setattr(compiled.config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    for folder in ("home", "tmp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    return tmp_path / "home"


def cache_folder() -> Path:
    folder = compiled._cache_folder(__file__)
    assert folder is not None and folder.stat().st_mode & 0o777 == 0o700
    return folder.parent


def open_to_all(folder: Path) -> Path:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return folder


def test_at_home(home: Path) -> None:
    assert cache_folder() == home / ".cache" / "xmc"


def test_where_the_user_says(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.config, "CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_a_folder_that_others_may_write_to_is_passed_over_and_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled.config, "CACHE_DIR", str(open_to_all(tmp_path / "shared")))
    assert cache_folder() == home / ".cache" / "xmc"
    assert "shared may be written by others (mode 777)" in caplog.text
    (home / ".cache" / "xmc").chmod(0o777)
    assert cache_folder() == tmp_path / "tmp" / f"xmc-{os.geteuid()}"


def test_nowhere(home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    open_to_all(home / ".cache")
    open_to_all(tmp_path / "tmp" / f"xmc-{os.geteuid()}")
    assert compiled._cache_folder(__file__) is None
    assert len(caplog.messages) == 2


@pytest.mark.slow
def test_a_process_without_a_cache_compiles_and_computes(home: Path, tmp_path: Path) -> None:
    open_to_all(home / ".cache")
    planted = open_to_all(tmp_path / "tmp" / f"xmc-{os.geteuid()}")
    code = (
        "import torch; from xmc.ops.fan_in import FanIn, fan_in_topk; i = torch.zeros(4, 1, dtype=torch.int16);"
        "layer = FanIn(torch.arange(4.)[:, None], i, torch.zeros(4));"
        "print(fan_in_topk(torch.ones(1, 8), layer, 1, backend='numba').labels.item())"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"
    assert not list(planted.iterdir())
