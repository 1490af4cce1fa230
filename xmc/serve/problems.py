"""Errors as application/problem+json (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
HUNG_UP = 499  # of nginx: nobody reads it


class Problem(Exception):
    """What is answered in the place of a result. more: further members of the problem."""

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers, more or {}

    def response(self) -> Response:
        title = "Client Closed Request" if self.status == HUNG_UP else HTTPStatus(self.status).phrase
        body = {"status": self.status, "title": title, "detail": self.detail, **self.more}
        return Response(as_json(body), self.status, self.headers, MEDIA_TYPE)


def as_json(value: object) -> bytes:
    """In ASCII, so that whatever was asked can be told back."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
