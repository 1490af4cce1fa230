"""The page at `/`, the one about the interface, and what they are made of; nothing of it is loaded from elsewhere."""

from hashlib import sha256
from importlib.resources import files

from fastapi import FastAPI, Request
from starlette.responses import Response

_PAGES = {"/": "index.html", "/docs": "docs.html"}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def add(app: FastAPI) -> None:
    """Add the routes."""
    for name in ("index.html", "docs.html", "page.css", "page.js", "docs.js", "icon.svg"):
        _add(app, name, [f"/page/{name}", *(path for path, of_name in _PAGES.items() if of_name == name)])


def _add(app: FastAPI, name: str, paths: list[str]) -> None:
    content = files(__package__).joinpath(name).read_bytes()
    mark = f'"{sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": mark, "Cache-Control": "no-cache"}

    async def file(request: Request) -> Response:
        if request.headers.get("if-none-match") == mark:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])

    for path in paths:
        app.add_route(path, file, ["GET", "HEAD"], include_in_schema=False)
