import os
from pathlib import Path

import pytest
from harness import Run, small, write_corpus
from in_process import run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def xmc() -> Run:
    """Run a command of xmc in this process."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return run


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    """The folder of a finished run."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    xmc("train", *small(corpus, f"run={run}", "trainer.keep_last=2"))
    return run
