import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from harness import Finished, Run, small, write_corpus
from hydra.core.global_hydra import GlobalHydra

from xmc.cli import main


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def xmc() -> Run:
    """Run a command of xmc in this process: importing torch anew for each would cost the suite minutes."""

    def run(*arguments: object, check: bool = True, input: str = "", cwd: Path | None = None) -> Finished:
        GlobalHydra.instance().clear()
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr("sys.argv", ["xmc", *map(str, arguments)])
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(input.encode())))
            patch.chdir(cwd or Path.cwd())
            try:
                main()
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
                if isinstance(stop.code, str):
                    err.write(stop.code + "\n")
        finished = Finished(code, out.getvalue(), err.getvalue())
        if check:
            assert finished.returncode == 0, finished.stderr
        return finished

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return run


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    """The folder of a finished run."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    xmc("train", *small(corpus, f"run={run}", "trainer.keep_last=2"))
    return run
