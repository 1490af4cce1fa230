"""`xmc serve` as a process: it starts, answers, and ends."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_process import run
from served import Server

from xmc.commands.serve import token_of
from xmc.errors import XMCError


@contextmanager
def process(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], Server]]:
    """A server on a free port, and its log, once it answers."""
    command = [sys.executable, "-m", "xmc", "serve", "port=0", "threads=1", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            found = next(m for line in running.stderr if (m := re.search(r"http://127.0.0.1:(\d+)", line)))
            server = Server(int(found[1]), None)
            until = time.monotonic() + 60
            while True:
                try:
                    server.ask("/health/live")
                    break
                except OSError:
                    assert time.monotonic() < until
                    time.sleep(0.05)
            yield running, server
        finally:
            running.kill()


OTHERS = [pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGHUP)]


@pytest.mark.parametrize("number", [signal.SIGTERM, *OTHERS])
def test_a_signal_ends_it_once_all_is_answered(model_folder: Path, number: int) -> None:
    with process(f"run={model_folder}") as (running, server):
        assert server.ask("/v1/predict", {"texts": ["the cat"]}).status == 200
        body = b'{"texts": ["the cat"]}'
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as line:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            line.sendall(head.encode() + body[:5])
            time.sleep(0.3)
            running.send_signal(number)
            time.sleep(0.3)
            with pytest.raises(OSError):
                server.ask("/health/live")
            line.sendall(body[5:])
            assert line.recv(65536).startswith(b"HTTP/1.1 200")
        assert running.wait(30) == 0


@pytest.mark.slow
def test_killed_it_starts_again(model_folder: Path) -> None:
    with process(f"run={model_folder}") as (running, server):
        port = server.port
        running.send_signal(signal.SIGKILL)
        assert running.wait(30) == -signal.SIGKILL
    with process(f"run={model_folder}", f"port={port}") as (_, server):
        assert server.port == port and server.ask("/v1/predict", {"texts": ["a"]}).status == 200


def refused(*arguments: object) -> str:
    done = run("serve", *arguments, check=False)
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_what_is_wrong_is_told_in_one_line(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "holds no model" in refused(f"run={tmp_path}", "port=0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port} cannot be listened on" in refused(f"run={model_folder}", f"port={port}")
    assert "queue=8 has no room" in refused(f"run={model_folder}", "queue=8")
    monkeypatch.setenv("XMC_SERVE_TOKEN", "short")
    assert "XMC_SERVE_TOKEN: expected a token" in refused(f"run={model_folder}")


def test_without_the_extra(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("xmc.serve.")]:
        monkeypatch.delitem(sys.modules, name)  # they are to be imported anew
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert 'xmc serve needs fastapi; install it: pip install "xmc[serve]"' in refused(f"run={model_folder}")


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XMC_SERVE_TOKEN", raising=False)
    assert token_of(None) is None
    (tmp_path / "token").write_text("0123456789abcdef\n")
    assert token_of(str(tmp_path / "token")) == "0123456789abcdef"
    monkeypatch.setenv("XMC_SERVE_TOKEN", "fedcba9876543210")
    assert token_of(None) == "fedcba9876543210"
    for wrong in ("", "short", "with a space in it", "umlaute-äöü-äöü-äöü"):
        (tmp_path / "token").write_text(wrong)
        with pytest.raises(XMCError, match="expected a token"):
            token_of(str(tmp_path / "token"))
    with pytest.raises(XMCError, match="cannot be read"):
        token_of(str(tmp_path / "none"))
