import gc
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from xmc.ops import compiled
from xmc.ops.compiled import share_out


@pytest.fixture(params=["torch's threads", "a pool"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "a pool":
        monkeypatch.setattr(compiled, "_gnu_openmp", lambda: None)
    yield request.param


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_every_range_is_done_once(kind: str, threads: int) -> None:
    done: list[tuple[int, int]] = []
    share_out(lambda first, last: done.append((first, last)), [(i, i + 1) for i in range(40)], threads)
    assert sorted(done) == [(i, i + 1) for i in range(40)]


def test_threads_work_side_by_side(kind: str) -> None:
    both = threading.Barrier(2, timeout=20)
    share_out(lambda _: both.wait(), [(0,), (1,)], 2)  # one thread alone would wait for the other in vain


@pytest.mark.parametrize("error", [ValueError, IndexError, KeyboardInterrupt])
@pytest.mark.parametrize("threads", [1, 2])
def test_errors_come_out_and_stop_the_rest(kind: str, threads: int, error: type[BaseException]) -> None:
    begun: list[int] = []

    def run(i: int) -> None:
        begun.append(i)
        raise error("range")

    with pytest.raises(error, match="range"):
        share_out(run, [(i,) for i in range(100)], threads)
    assert len(begun) <= threads


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP comes with torch's Linux wheels")
def test_what_a_signal_handler_raises_comes_out() -> None:
    class Stop(Exception): ...

    raised = caught = 0

    def handler(*_: object) -> None:
        nonlocal raised
        raised += 1
        raise Stop

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # Python loses what is raised in a callback of its collector
    try:
        for trial in range(100):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + trial % 20))
                while raised == trial:
                    share_out(time.sleep, [(0,)] * 4, 2)
            except Stop:
                caught += 1
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert (raised, caught) == (100, 100)


def test_a_team_smaller_than_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Alone:
        def GOMP_parallel(self, task: object, members: Iterator[None], threads: int, flags: int) -> None:
            next(members)

    monkeypatch.setattr(compiled, "_gnu_openmp", Alone)
    done: list[int] = []
    share_out(done.append, [(i,) for i in range(5)], 3)
    assert done == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP comes with torch's Linux wheels")
def test_torch_on_linux_lends_its_threads() -> None:
    assert compiled._gnu_openmp() is not None
