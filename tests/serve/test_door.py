"""Who may ask, how much, and how slowly."""

import socket
import threading
import time
from pathlib import Path

import pytest
from served import Server, running, with_limits, with_rules

from xmc.model import XMCModel
from xmc.serve import server as uvicorn_server
from xmc.serve.door import Rules, is_loopback

TOKEN = "a-token-of-some-length"


def spoken(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What is answered, until the connection is closed, to bytes that are sent piece by piece."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(pause)
        answer = b""
        while chunk := line.recv(65536):
            answer += chunk
        return answer


def test_another_name_is_not_answered_to(server: Server) -> None:
    """As a page elsewhere has it, whose name was made to lead here."""
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert server.ask("/v1/models", Host=host).status == 421
    for host in ("localhost", f"localhost:{server.port}", "127.0.0.1", "[::1]:80", "LOCALHOST"):
        assert server.ask("/v1/models", Host=host).status == 200


def test_rules_by_host() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.2", "example.org", "")))
    assert Rules.for_host("0.0.0.0", (), (), None, 1, 1).hosts == set()
    assert Rules.for_host("0.0.0.0", ("books.example",), (), None, 1, 1).hosts == {"books.example"}
    assert "books.example" in Rules.for_host("127.0.0.1", ("Books.example",), (), None, 1, 1).hosts


def test_a_page_elsewhere_may_not_ask(server: Server) -> None:
    body = {"texts": ["a"]}
    for origin in ("https://evil.example", "null", f"http://localhost:{server.port + 1}"):
        assert server.ask("/v1/predict", body, Origin=origin).status == 403
    answer = server.ask("/v1/predict", body, Origin=f"http://127.0.0.1:{server.port}")
    assert answer.status == 200 and "access-control-allow-origin" not in answer.headers


def test_one_that_was_allowed_may(model_folder: Path) -> None:
    page = "https://catalogue.example"
    with running(model_folder, rules=with_rules(origins={page})) as server:
        answer = server.ask("/v1/predict", {"texts": ["a"]}, Origin=page)
        assert answer.status == 200 and answer.headers["access-control-allow-origin"] == page
        asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
        assert server.ask("/v1/predict", method="OPTIONS", Origin=page, **asked).status == 200
        assert server.ask("/v1/predict", {"texts": ["a"]}, Origin="https://evil.example").status == 403


def test_the_token(model_folder: Path) -> None:
    with running(model_folder, rules=with_rules(token=TOKEN)) as server:
        for path in ("/v1/models", "/metrics", "/v1/projects"):
            refused = server.ask(path)
            assert refused.status == 401 and refused.headers["www-authenticate"] == "Bearer"
            assert refused.headers["content-type"] == "application/problem+json"
        for wrong in ("Bearer nothing", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xfc", "Bearer"):
            assert server.ask("/v1/models", Authorization=wrong).status == 401
        assert server.ask("/v1/models", Authorization=f"Bearer {TOKEN}").status == 200
        assert server.ask("/v1/predict", {"texts": ["a"]}).status == 401
        for path in ("/", "/docs", "/page/page.js", "/openapi.json", "/health/live", "/health/ready"):
            assert server.ask(path).status == 200
        assert server.ask("/page/../v1/models").status in (401, 404)


def test_headers_that_keep_a_page_to_itself(server: Server) -> None:
    for path in ("/", "/docs", "/v1/models", "/nothing"):
        headers = server.ask(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"


def test_a_body_without_end(server: Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    told = spoken(server.port, head + b"Content-Length: 99999999999999999999999\r\n\r\n{")
    assert told.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    told = spoken(server.port, head + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk)
    assert told.startswith(b"HTTP/1.1 413") and b"problem+json" in told


def test_a_body_that_does_not_come(model_folder: Path) -> None:
    with running(model_folder, with_limits(deadline=0.5), with_rules(patience=0.5)) as server:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        started = time.monotonic()
        assert spoken(server.port, head, b"{", b'"', b"t", pause=0.1).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"GET /"],
        [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 8],
        [b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", b"G"],
    ],
    ids=["nothing", "a piece", "a line now and then", "the second request"],
)
def test_a_head_that_does_not_come(server: Server, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    monkeypatch.setattr(uvicorn_server, "HEAD_SECONDS", 0.5)
    started = time.monotonic()
    assert b"HTTP/1.1 408" in spoken(server.port, *pieces, pause=0.05)
    assert time.monotonic() - started < 5


def test_a_head_without_end(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        line.sendall(b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 40_000)
        line.sendall(b"x" * 40_000)
        assert line.recv(100).startswith(b"HTTP/1.1 431")
    assert server.ask("/health/live").status == 200


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\x00" * 100, b"GET\r\n\r\n"])
def test_what_is_no_http(server: Server, garbage: bytes) -> None:
    assert spoken(server.port, garbage).startswith(b"HTTP/1.1 400")
    assert server.ask("/health/live").status == 200


def test_who_hangs_up_leaves_no_fault(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, free = threading.Event(), threading.Event()

    def slow(self: XMCModel, texts: list[str], *_: object) -> list[list[object]]:
        begun.set()
        assert free.wait(20)
        return [[] for _ in texts]

    body = b'{"texts": ["a"]}'
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with running(model_folder) as server:
        monkeypatch.setattr(XMCModel, "predict", slow)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
            line.sendall(head + body)
            assert begun.wait(20)
        for _ in range(200):
            if 'status="499"' in server.ask("/metrics").body.decode():
                break
            time.sleep(0.02)
        else:
            raise AssertionError("nobody noticed")
        free.set()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
