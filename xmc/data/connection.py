"""Connections to web servers that are made, and answer, within a time: urllib counts anew with every byte."""

import http.client
import queue
import socket
import threading
import urllib.request
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any

_REACHED = 8  # seconds in which a connection is made: names, every address, proxies and TLS together
_ANSWERED = 60  # seconds in which an answer begins: the whole of its head


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


CONNECTED = (_HTTP, _HTTPS)
