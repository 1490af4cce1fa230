import sys
import threading
from collections.abc import Iterator

import pytest

from xmc.ops.fan_in.impl import team
from xmc.ops.fan_in.impl.team import share_out


@pytest.fixture(params=["torch's threads", "a pool"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "a pool":
        monkeypatch.setattr(team, "_gnu_openmp", lambda: None)
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
def test_torch_on_linux_lends_its_threads() -> None:
    assert team._gnu_openmp() is not None
