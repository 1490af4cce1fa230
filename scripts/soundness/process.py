"""Commands of xmc, each in a child forked from this process, which has imported all that they need."""

import gc
import os
import resource
import runpy
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROCESSOR_LIMIT = 60  # seconds of computing; the slowest command of a trial takes some three
TIMEOUT = 400.0  # seconds altogether, on a machine that has other work too
Within = Callable[[Callable[[], None]], None]
SECRET = "canary-secret-of-the-environment"


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: negative for a signal. late: it was stopped. grown: in MiB beyond the parent."""

    code: int
    stdout: str
    stderr: str
    seconds: float = 0.0
    late: bool = False
    grown: int = 0


class Command:
    """`xmc <arguments>`, running.

    stdin: what it reads. within: called in the child around the command, to disturb it or to look at what it did.
    memory: MiB of address space beyond what this process has.
    """

    def __init__(
        self,
        *arguments: object,
        stdin: bytes = b"",
        within: Within | None = None,
        main: Callable[[], None] | None = None,
        memory: int = 4096,
    ) -> None:
        self._stdin, self._stdout, self._stderr = (tempfile.TemporaryFile() for _ in range(3))  # noqa: SIM115
        self._stdin.write(stdin)
        self._stdin.seek(0)
        self._before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            os.write(tell, b".")
            os.close(tell)
            streams = [stream.fileno() for stream in (self._stdin, self._stdout, self._stderr)]
            _be_command(list(map(str, arguments)), streams, within or _plainly, main or _main, memory)
        os.close(tell)
        os.read(ready, 1)  # so that moments count from its beginning
        os.close(ready)
        self._started = time.monotonic()

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def ends_within(self, seconds: float) -> bool:
        """Wait so long for its end."""
        descriptor = os.pidfd_open(self.pid)
        ended = bool(select.select([descriptor], [], [], seconds)[0])
        os.close(descriptor)
        return ended

    def wait(self, timeout: float = TIMEOUT) -> Ended:
        """Its end, which comes by force after `timeout` seconds."""
        late = not self.ends_within(timeout)
        if late:
            os.killpg(self.pid, signal.SIGKILL)
        _, status, used = os.wait4(self.pid, 0)
        self._stdin.close()
        out, err = _text(self._stdout), _text(self._stderr)
        grown = max(0, used.ru_maxrss - self._before) // 1024
        return Ended(os.waitstatus_to_exitcode(status), out, err, time.monotonic() - self._started, late, grown)


def run(*arguments: object, stdin: bytes = b"", memory: int = 4096) -> Ended:
    return Command(*arguments, stdin=stdin, memory=memory).wait()


def warm_up() -> None:
    """Import once what every command needs. OpenMP has one thread, so that it has none to lose when this forks."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    os.environ["XMC_CANARY_SECRET"] = SECRET
    import xmc.cli
    import xmc.model.huggingface
    import xmc.workflow.training  # noqa: F401


def warm_run(*arguments: object) -> None:
    """Run a command in this process itself: what it loads and compiles, its children need not."""
    before = sys.argv, {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    sys.argv = ["xmc", *map(str, arguments)]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        _main()
    sys.argv = before[0]
    for number, handler in before[1].items():
        signal.signal(number, handler)
    gc.freeze()


def _be_command(
    arguments: list[str],
    streams: list[int],
    within: Within,
    main: Callable[[], None],
    memory: int,
) -> None:
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin = os.fdopen(0, encoding="utf-8")
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
        sys.argv = ["xmc", *arguments]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        limit = _address_space() + memory * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        spent = int(time.process_time()) + PROCESSOR_LIMIT
        resource.setrlimit(resource.RLIMIT_CPU, (spent, spent + 1))
        code = _exit_code(main, within)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _exit_code(main: Callable[[], None], within: Within) -> int:
    """As the interpreter makes it of what a program raises."""
    try:
        within(main)
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _plainly(main: Callable[[], None]) -> None:
    main()


def _text(stream: IO[bytes]) -> str:
    with stream:
        stream.seek(0)
        return stream.read().decode(errors="replace")


def _main() -> None:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    runpy.run_module("xmc", run_name="__main__")


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
