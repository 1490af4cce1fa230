"""Commands of xmc, run in this process: importing torch anew for each would cost the suite minutes."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

from xmc.cli import main


@dataclass(frozen=True)
class Finished:
    """What a command of xmc left behind."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, check: bool = True, input: str = "", cwd: Path | None = None) -> Finished:
    """Run `xmc` with these arguments. check: it must succeed."""
    GlobalHydra.instance().clear()
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("sys.argv", ["xmc", *map(str, arguments)])
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(input.encode())))
        patch.chdir(cwd or Path.cwd())
        if "--multirun" not in arguments:  # else it composes a second time, to see whether the files say so
            patch.setattr(Hydra, "get_mode", lambda *_, **__: None)
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
