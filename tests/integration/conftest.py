import os
import subprocess
from pathlib import Path

import pytest
from harness import Run, command, small, write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def xmc() -> Run:
    """Run a command of xmc in its own process, as a user does."""

    def run(*arguments: object, check: bool = True, **kwargs: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command(*arguments), capture_output=True, text=True, **kwargs)  # type: ignore[call-overload]
        if check:
            assert done.returncode == 0, done.stderr
        return done

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return run


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    """The folder of a finished run."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    xmc("train", *small(corpus, f"run={run}"))
    return run
