"""What every request passes before it reaches a route: who asks, how much, and how long it takes to say it."""

import asyncio
import hmac
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xmc.serve.metrics import Metrics
from xmc.serve.problems import Problem
from xmc.serve.server import ARRIVED

_OPEN = {"/", "/docs", "/openapi.json", "/health/live", "/health/ready"}  # to all; and what the pages are made of
_PAGE, _RELOAD = "/page/", "/reload"
_LOCAL = ("localhost", "127.0.0.1", "::1")
_SECURITY = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


@dataclass(frozen=True, slots=True)
class Rules:
    """hosts: names that a request may ask for; empty: any. origins: of pages elsewhere that may ask. token: that a
    request must bear. body: bytes of it, at most. patience: seconds until it must be here as a whole."""

    hosts: Collection[str]
    origins: Collection[str]
    token: str | None
    body: int
    patience: float

    @classmethod
    def for_host(
        cls, host: str, hosts: Collection[str], origins: Collection[str], token: str | None, body: int, patience: float
    ) -> "Rules":
        """On the loopback interface only names of it are answered to: a page elsewhere whose name was made to lead here
        (DNS rebinding) asks for another."""
        names = {*_LOCAL, host, *hosts} if is_loopback(host) else {*hosts}
        return cls({name.lower() for name in names}, {*origins}, token, body, patience)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Door:
    """An ASGI application around another. check_room: raises Problem where a request that came then has no room; asked
    before anything else is done for it, as under overload most of the work is to refuse."""

    def __init__(self, app: ASGIApp, rules: Rules, metrics: Metrics, check_room: Callable[[float], None]) -> None:
        self._app, self._rules, self._metrics, self._check_room = app, rules, metrics, check_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrived = scope.setdefault(ARRIVED, time.monotonic())
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                caching = [] if any(name == b"cache-control" for name, _ in message["headers"]) else _NEVER
                message["headers"] = [*message["headers"], *_SECURITY, *caching]
            await send(message)

        try:
            self._check(scope)
            if scope["method"] == "POST" and scope["path"] != _RELOAD:
                self._check_room(arrived)
            body = await self._body(scope, receive)
            if body is not None:
                await self._app(scope, _after(body, receive), answer)
        except Problem as problem:
            await problem.response()(scope, receive, answer)
        finally:
            if status:
                route = getattr(scope.get("route"), "path", "")  # not the path: anybody can make up endless many
                self._metrics.answered(route, status, time.monotonic() - arrived)

    def _check(self, scope: Scope) -> None:
        headers, rules, path = Headers(scope=scope), self._rules, scope["path"]
        host = headers.get("host", "")
        if rules.hosts and _name(host) not in rules.hosts:
            raise Problem(421, f"this server does not answer to the name {host!r:.80}; give its own, or hosts=[...]")
        origin = headers.get("origin")
        if origin is not None and origin not in rules.origins and urlsplit(origin).netloc != host:
            raise Problem(403, "pages elsewhere may not ask this server; allow one with origins=[...]")
        if rules.token is None or path in _OPEN or path.startswith(_PAGE) or scope["method"] == "OPTIONS":
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(given.strip().encode("utf-8", "replace"), rules.token.encode())
        if scheme.lower() != "bearer" or not known:
            raise Problem(401, "expected the header Authorization: Bearer <token>", {"WWW-Authenticate": "Bearer"})

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None: the client has hung up."""
        told = Headers(scope=scope).get("content-length", "0")
        if not (told.isascii() and told.isdigit()) or int(told[:20]) > self._rules.body:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._rules.patience):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self._rules.body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise Problem(408, f"the request was not here within {self._rules.patience:g} s", _CLOSE) from None

    def _too_large(self) -> Problem:
        return Problem(413, f"the body is too large; send {self._rules.body:,} bytes at most", _CLOSE)


_CLOSE = {"Connection": "close"}
_NEVER = [(b"cache-control", b"no-store")]


def _after(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body, and then whatever comes."""
    given = False

    async def replay() -> dict[str, Any]:
        nonlocal given
        if given:
            return dict(await receive())
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _name(host: str) -> str:
    """Of a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
