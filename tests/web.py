"""A web server on the loopback that misbehaves on request, and archives for it to serve."""

import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any


class Site(ThreadingHTTPServer):
    """Serves `files` by path. Every request is kept in `asked`: its path and its Range.

    cut: after how many bytes of the body to break off, a number for each of the first answers.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.asked: list[tuple[str, str | None]] = []
        self.cut: list[int] = []
        self.ranges = True
        self.shift = 0  # bytes that a range begins too late
        self.length: Callable[[int], int | None] = lambda size: size  # what Content-Length says
        self.status: list[int] = []  # of the first answers, where they are errors
        self.version = "1"
        self.redirects: dict[str, str] = {}
        self.logins: list[str | None] = []
        self.trickle = ""  # content or headers: a byte now and then, for seconds

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site, name, asked = self.server, self.path.strip("/"), self.headers.get("Range")
        site.asked.append((name, asked))
        site.logins.append(self.headers.get("Authorization"))
        if name in site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects[name])
            self.end_headers()
            return
        if site.trickle:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if site.trickle == "content" else b""))
            with suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"X")
                    sleep(0.02)
            return
        if site.status or name not in site.files:
            self.send_error(site.status.pop(0) if site.status else 404)
            return
        content, start = site.files[name], 0
        version = f'"{site.version}"'
        if asked and site.ranges and self.headers.get("If-Range", version) == version:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + site.shift  # type: ignore[index]
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        if (length := site.length(len(body))) is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("ETag", version)
        self.end_headers()
        self.wfile.write(body[: site.cut.pop(0)] if site.cut else body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[Site]:
    with Site(files) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        site.shutdown()
        thread.join()


def tar_gz(files: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """Members of these names and contents, then `more` without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in more:
            tar.addfile(member)
    return out.getvalue()


def zipped(files: Mapping[str | zipfile.ZipInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()
