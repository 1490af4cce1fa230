import multiprocessing
import signal
import threading
import time
from pathlib import Path

import pytest

from xmc.storage import locked
from xmc.types import XMCError


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
        pass


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
