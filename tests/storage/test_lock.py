import multiprocessing
import signal
import threading
import time
from pathlib import Path

import pytest

from xmc.errors import XMCError
from xmc.storage import locked


def _hold(folder: Path, held: "multiprocessing.synchronize.Event") -> None:
    with locked(folder):
        held.set()
        signal.pause()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "run", held))
    holder.start()
    assert held.wait(60)
    with (
        pytest.raises(XMCError, match=f"run is in use by process {holder.pid} on .*; wait until"),
        locked(tmp_path / "run"),
    ):
        pass
    holder.kill()
    holder.join()
    with locked(tmp_path / "run"):  # the system let go of it
        (tmp_path / "run" / "file").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]


def test_a_folder_in_which_nothing_came_to_lie_goes_again(tmp_path: Path) -> None:
    with locked(tmp_path / "runs" / "one"):
        assert (tmp_path / "runs" / "one").is_dir()
    assert not list(tmp_path.iterdir())


def test_one_holder_at_a_time_while_the_lock_comes_and_goes(tmp_path: Path) -> None:
    """Each holder takes away the lock's file and the folder that the next ones wait for."""
    inside, seen = [], []

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path / "run", wait=True):
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [1] * 80


def test_waiting_for_the_holder(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with locked(tmp_path, wait=True):
            order.append("second")

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
