"""A file from the web: gone on with where it broke off, checked, and renamed into place once it is whole.

Connections are made, and answer, within a time: urllib counts anew with every byte.
"""

import base64
import hashlib
import http.client
import queue
import re
import socket
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tqdm import tqdm

from xmc.errors import XMCError
from xmc.terminal import without_passwords

_REACHED = 8  # seconds in which a connection is made: names, every address, proxies and TLS together
_ANSWERED = 60  # seconds in which an answer begins: the whole of its head
_BLOCK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_LEAST = 1 << 16  # bytes that are progress, of a minute or of an attempt
_MOST = 64 << 30  # bytes of a file
_ATTEMPTS = 5  # in a row without progress
_PASSING = (408, 429)  # with 5xx, the answers that may be another one a little later


def download(url: str, target: Path, sha256: str | None = None) -> None:
    """The file at `url` (http or https) as `target`, in a folder that exists.

    What has arrived stays in `<target>.part`; a broken transfer, of this call or of an earlier one, goes on from there
    by HTTP Range, and starts over where the server has no ranges or another file by now.

    Raises XMCError where the server cannot be reached, refuses, does not deliver, or delivers what has another SHA-256.
    """
    part, shown = target.with_name(f"{target.name}.part"), without_passwords(url)
    request = _request(url)
    furthest, failures, reached = _size(part), 0, False
    while (problem := _advance(request, part)) is not None:
        if isinstance(problem, _Unreachable) and not reached:
            raise XMCError(
                f"{shown} cannot be reached ({problem}). Put {target.name} into {target.parent} by hand, or any other "
                "archive with these files, and repeat the command"
            )
        reached = True
        failures = 0 if _size(part) >= furthest + _LEAST else failures + 1
        furthest = max(furthest, _size(part))
        if failures == _ATTEMPTS:
            raise XMCError(
                f"{shown}: {problem}; gave up after {failures} attempts that brought nothing new. "
                f"The same command goes on with the {_size(part):,} bytes in {part}"
            )
        sleep(2**failures)
    if sha256 is not None and (found := sha256_of(part)) != sha256:
        part.unlink()
        _validator(part).unlink(missing_ok=True)
        raise XMCError(
            f"{shown}: SHA-256 is {found}, expected {sha256}; the download is deleted. If it is so again, the file "
            f"at the source is another one: see {target.name}.sha256 or data.benchmark.sha256, whichever there is"
        )
    part.replace(target)
    _validator(part).unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Unreachable(str):
    """Why no connection was made."""


def _request(url: str) -> urllib.request.Request:
    """A request for the file, with user and password of the address as urllib wants them: never sent elsewhere."""
    try:
        parts = urlsplit(url)
        login, _, host = parts.netloc.rpartition("@")
        if parts.scheme not in ("http", "https") or not host.isascii() or not parts.hostname or parts.port == 0:
            raise ValueError("http://host/file or https://host/file")
        address = urlunsplit(parts._replace(netloc=host, fragment=""))
        request = urllib.request.Request(re.sub(r"[^!-~]", lambda found: quote(found[0]), address))
    except ValueError as error:
        raise XMCError(f"{without_passwords(url)}: expected an address such as https://host/file ({error})") from None
    request.add_header("User-Agent", "xmc")
    if login:
        encoded = base64.b64encode(unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    return request


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To http and https alone, and never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and (scheme != "http" or req.type == "https"):
            raise XMCError(
                f"{req.full_url} leads to {without_passwords(newurl)}, which is not {req.type} any more; give the "
                "address of the file itself with data.benchmark.url=..., or get it by hand"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Without the handlers of other schemes."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _HTTP(),
        _HTTPS(),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _advance(request: urllib.request.Request, part: Path) -> str | None:
    """One request for what is missing. None: the file is whole; else what went wrong."""
    have = _size(part)
    for header in ("Range", "If-range"):
        request.remove_header(header)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if _validator(part).is_file():
            request.add_header("If-Range", _validator(part).read_text())
    try:
        response = _opener().open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        return _refused(request.full_url, part, error)
    except urllib.error.URLError as error:
        return _Unreachable(error.reason)
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    with response:
        return _receive(response, part)


def _refused(url: str, part: Path, error: urllib.error.HTTPError) -> str | None:
    """An answer that is an error: None where it says that the file was whole before."""
    if error.code == 416:
        if error.headers.get("Content-Range") == f"bytes */{_size(part)}":
            return None
        part.unlink(missing_ok=True)
    elif error.code < 500 and error.code not in _PASSING:
        raise XMCError(
            f"{url}: HTTP {error.code} {error.reason}; expected the file. Give another address with "
            f"data.benchmark.url=..., or put the file into {part.parent} yourself"
        )
    return f"HTTP {error.code} {error.reason}"


def _receive(response: HTTPResponse, part: Path) -> str | None:
    have = 0
    length = response.headers.get("Content-Length")
    total = int(length) if length and length.isdigit() else None
    if response.status == 206:
        place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        have = _size(part)
        if place is None or int(place[1]) != have:
            part.unlink()
            return f"asked for byte {have} and what follows, got {response.headers.get('Content-Range')}"
        total = None if place[2] == "*" else int(place[2])
    else:
        _remember(response, part)
    since, arrived = monotonic(), have
    bar = tqdm(total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, disable=None)
    with bar, open(part, "ab" if have else "wb") as out:
        while True:
            try:
                block = response.read1(_BLOCK)
            except (OSError, HTTPException) as error:
                return f"broke off after {out.tell():,} bytes ({error})"
            if not block:
                break
            out.write(block)
            bar.update(len(block))
            if out.tell() > _MOST:
                raise XMCError(f"{part} has grown beyond {_MOST >> 30} GiB, which no set has; delete it")
            if monotonic() > since + _TIMEOUT:
                if out.tell() < arrived + _LEAST:
                    return f"no more than {out.tell() - arrived:,} bytes came in {_TIMEOUT} s"
                since, arrived = monotonic(), out.tell()
        size = out.tell()
    return None if total is None or size == total else f"broke off after {size:,} of {total:,} bytes"


def _remember(response: HTTPResponse, part: Path) -> None:
    """What tells this version of the file from the next, for the request that goes on with it."""
    etag = response.headers.get("ETag", "")
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    if version:
        _validator(part).write_text(version)
    else:
        _validator(part).unlink(missing_ok=True)


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Timed(http.client.HTTPConnection):
    def connect(self) -> None:
        outcome: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

        def run() -> None:
            try:
                super(_Timed, self).connect()
            except Exception as error:
                outcome.put(error)
            else:
                outcome.put(None)

        threading.Thread(target=run, daemon=True).start()
        try:
            error = outcome.get(timeout=_REACHED)
        except queue.Empty:
            raise TimeoutError(f"no connection within {_REACHED} s") from None
        if error is not None:
            raise error

    def getresponse(self) -> HTTPResponse:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            with suppress(AttributeError, OSError):  # closed just now
                self.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(_ANSWERED, give_up)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        finally:
            timer.cancel()
        if late.is_set():  # to http.client, the head of an answer that breaks off is a whole one
            response.close()
            raise TimeoutError(f"no whole answer within {_ANSWERED} s")
        return response


class _TimedTLS(_Timed, http.client.HTTPSConnection):
    pass


class _HTTP(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Timed, req)


class _HTTPS(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_TimedTLS, req)
