import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from xmc.config.arguments import as_override
from xmc.config.shell import shell_command
from xmc.endings import Stopped, one_line, stoppable
from xmc.errors import STOP_SIGNALS, XMCError


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


def ending(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end, one_line("train", lambda: "give the command again"):
        raise error
    code = end.value.code
    return (1, code) if isinstance(code, str) else (int(code or 0), capsys.readouterr().err.strip())


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("An error occurred while generating the dataset")
    error.__cause__ = cause
    return error


def refused(number: int, file: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), file)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (XMCError("no"), "no"),
        (
            refused(errno.EACCES, "a/b"),
            "a/b: Permission denied; give a file that you may read, or a place that",
        ),
        (refused(errno.EROFS, "a/b"), "a/b: Read-only file system; give a place that can be written to, then give the"),
        (refused(errno.ENAMETOOLONG, "a/b"), "a/b: File name too long; choose a shorter name, then give the command"),
        (refused(errno.EIO), "Input/output error; see to that, then give the command again"),
        (refused(errno.ENOSPC, "a/b"), "the disk is full (a/b); make room, then give the command again"),
        (wrapped(refused(errno.ENOSPC, "a/b")), "the disk is full (a/b); make room"),
        (wrapped(refused(errno.EROFS, "a/b")), "a/b: Read-only file system; "),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full (I/O error: No space"),
        (
            SafetensorError("I/O error: File too large (os error 27)"),
            "raise the limit on the size of a file (ulimit -f)",
        ),
        (MemoryError(), "memory is exhausted (MemoryError); give smaller batches"),
        (wrapped(OutOfMemoryError("CUDA out of memory. Tried to allocate 4 GiB")), "memory is exhausted (CUDA out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory is exhausted (DefaultCPUAllo"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_are_told_in_one_line(error: Exception, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = ending(error, capsys)
    assert code == 1 and told in line and line.startswith("xmc train: ") and "\n" not in line


def test_a_fault_of_our_own_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), one_line("train", lambda: ""):
        raise KeyError("a")


def test_signals(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    for number in STOP_SIGNALS:
        with pytest.raises(Stopped) as stop, stoppable():
            os.kill(os.getpid(), number)
        assert ending(stop.value, capsys) == (128 + number, "interrupted; give the command again")
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


class Stubborn:
    """What comes while it goes away is dropped by Python."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_within_a_destructor_is_not_lost() -> None:
    before = sys.unraisablehook
    with pytest.raises(Stopped), stoppable():
        Stubborn()
        time.sleep(10)
    assert sys.unraisablehook is before


@pytest.mark.parametrize(
    ("module", "number"), [("hydra", signal.SIGINT), ("hydra", signal.SIGHUP), ("torch", signal.SIGTERM)]
)
def test_signals_wait_while_modules_are_imported(module: str, number: signal.Signals, tmp_path: Path) -> None:
    """A library may swallow all that is raised meanwhile, and what comes of that may be an error."""
    (tmp_path / f"{module}.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {number})\nexcept BaseException:\n    pass\nopen('done', 'w')\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    stopped = subprocess.run(
        [sys.executable, "-m", "xmc", "flops", "data=synthetic"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (stopped.returncode, stopped.stderr) == (128 + number, "interrupted; give the command again\n")
    assert (tmp_path / "done").exists()


def test_an_error_in_the_place_of_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    """As OmegaConf makes it of what comes while it composes a configuration."""
    with pytest.raises(XMCError) as error:
        try:
            try:
                raise Stopped(signal.SIGTERM)
            finally:
                raise AttributeError("'NoneType' object has no attribute 'flags'")
        except AttributeError:
            raise XMCError("the configuration cannot be read") from None
    assert ending(error.value, capsys) == (128 + signal.SIGTERM, "interrupted; give the command again")


def test_what_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_worker_ends_as_it_would_have() -> None:
    ready, told = os.pipe()
    with stoppable():
        if (child := os.fork()) == 0:
            os.write(told, b"1")
            time.sleep(30)
            os._exit(0)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_a_thread_is_left_alone() -> None:
    ran = []

    def work() -> None:
        with stoppable():
            ran.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [True]


@pytest.mark.parametrize("run", ["runs/lr=0.1", "it's", "a;b", "books (1)", "'quoted'", "null", "~", "a,b", "Bücher"])
def test_a_printed_command_can_be_pasted(run: str) -> None:
    """A shell takes it apart into the words that xmc is to read."""
    pasted = f"xmc() {{ printf '%s\\0' \"$@\"; }}; {shell_command('train', run=run, resume=True)}"
    words = subprocess.run(["sh", "-c", pasted], stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    assert words[0] == "train" and words[2:] == ["resume=true", ""]
    quoted = run in ("'quoted'", "null", "~")
    assert words[1] == (as_override("run", run) if quoted else f"run={run}")
