"""uvicorn around the application: its socket, its signals, its end."""

import signal
import socket
import sys
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from xmc.errors import XMCError
from xmc.serve.connection import Connection

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
