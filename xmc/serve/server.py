"""uvicorn around the application: its socket, its connections, its signals, its end."""

import asyncio
import signal
import socket
import sys
import time
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from xmc.errors import XMCError

HEAD_BYTES = 64 << 10  # of a request: its head, at most
HEAD_SECONDS = 10.0
ARRIVED = "xmc.arrived"  # in the scope: when the request began, by `time.monotonic`
_BACKLOG = 1024
_TURN = 0.0005  # seconds that the model thread keeps Python to itself while a request waits to be read; 0.005 else


def listening(host: str, port: int) -> socket.socket:
    """A socket that is bound, but takes no connection yet. port: 0 is any that is free.

    Raises:
        XMCError: there is no such address here, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        told = f"{host}:{port} cannot be listened on ({error.strerror})"
        raise XMCError(f"{told}; give another host=... or port=...") from None
    return bound


def server_of(app: ASGIApp, *, connections: int, drain: float) -> uvicorn.Server:
    """connections: at most; more are answered with 503. drain: seconds for what is there when it is to stop."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        loop="auto",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=connections,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=max(1, round(drain)),
    )
    return uvicorn.Server(config)


def until_stopped(server: uvicorn.Server, bound: socket.socket) -> None:
    """Answer until a signal to stop comes; then take no more, answer what is there, and return."""
    sys.setswitchinterval(_TURN)
    if signal.getsignal(signal.SIGHUP) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGHUP, server.handle_exit)
    with suppress(KeyboardInterrupt):  # the signal that it ended by comes once more
        server.run(sockets=[bound])


class Connection(HttpToolsProtocol):
    """Who says nothing, or begins a request and does not go on, is cut off: uvicorn alone waits for ever."""

    _head: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_has_come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()  # of the next request of this connection
        if self._head is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head is not None and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[ARRIVED] = time.monotonic()  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        self._head_has_come()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def _head_has_come(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _refuse(self, status: int) -> None:
        self._head_has_come()
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
