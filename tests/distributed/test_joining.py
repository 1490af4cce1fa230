"""Processes that cannot make one job are refused, in one line."""

import socket
from datetime import timedelta

import pytest

from xmc.distributed import ALONE, joined
from xmc.errors import XMCError
from xmc.job import Place


def test_a_process_alone_joins_nobody() -> None:
    with joined(Place()) as processes:
        assert processes is ALONE


@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_does_not_wait_for_ever(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr("xmc.distributed.joining._ARRIVAL", timedelta(seconds=1))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(port))
    with pytest.raises(XMCError) as error, joined(Place(rank, 2, rank)):
        pass
    assert "2 processes were to make one job, and within 0:00:01 not all have come together" in str(error.value)
