"""The application: all routes, and the door in front of them."""

import asyncio
import gc
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from xmc.serve import annif, inference, native, page
from xmc.serve.answering import Service
from xmc.serve.door import Door, Rules
from xmc.serve.metrics import Metrics
from xmc.serve.problems import MEDIA_TYPE, Problem, as_json

logger = logging.getLogger(__name__)

_DESCRIPTION = "The best few of very many labels of a text. Errors are application/problem+json (RFC 9457)."
_MOST_ERRORS = 20
_PROBLEM = {
    "type": "object",
    "properties": {
        "status": {"type": "integer"},
        "title": {"type": "string"},
        "detail": {"type": "string"},
    },
    "required": ["status", "title", "detail"],
}
_STATUSES = {
    400: "malformed",
    401: "without the token",
    403: "a page elsewhere asks",
    404: "no such model",
    408: "the request took too long to come",
    413: "too large",
    421: "another server's name",
    422: "malformed",
    429: "the queue is full; see Retry-After",
    504: "past the deadline",
}


def build(service: Service, metrics: Metrics, rules: Rules, watch: float) -> ASGIApp:
    """watch: seconds between two looks at the models' folders; 0: only when asked for."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.thread.start()
        _settle()
        watching = asyncio.create_task(_watch(service, metrics, watch)) if watch else None
        yield
        if watching is not None:
            watching.cancel()
        await asyncio.to_thread(service.thread.close)
        gc.unfreeze()

    app = FastAPI(
        title="xmc",
        version=version("xmc"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        responses={
            status: {"description": told, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
            for status, told in _STATUSES.items()
        },
    )
    metrics.watch(lambda: service.thread.waiting, lambda: service.thread.wait)
    for router in (
        native.routes(service, _Route),
        annif.routes(service, _Route, app.version),
        inference.routes(service, _Route),
        _upkeep(service, metrics),
    ):
        app.include_router(router)
    page.add(app)
    _tell_errors(app)
    inside: ASGIApp = app
    if rules.origins:
        inside = CORSMiddleware(app, [*rules.origins], ["GET", "POST"], ["*"], allow_credentials=False)
    return Door(inside, rules, metrics, service.check_room)


class _Route(APIRoute):
    """A route that FastAPI describes. Where it takes no more than a path and a body, it is called at once: FastAPI's
    way to it takes longer than all else that happens to a request here, the model aside."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        taken = inspect.signature(self.endpoint).parameters
        if not {"request"} <= taken.keys() <= {"request", "body", "project_id"}:
            return super().get_route_handler()
        annotation: Any = taken["body"].annotation if "body" in taken else None
        body = None if annotation is None else TypeAdapter[Any](annotation)

        async def handle(request: Request) -> Response:
            given = dict(request.path_params)
            if body is not None:
                try:
                    given["body"] = body.validate_json(await request.body())
                except ValidationError as error:
                    wrong = error.errors(include_url=False, include_input=False, include_context=False)
                    raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in wrong]) from None
            response: Response = await self.endpoint(request=request, **given)
            return response

        return handle


def _upkeep(service: Service, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["upkeep"])

    @router.get("/health/live", summary="Whether the process works")
    async def live() -> Response:
        return _health(503 if not service.thread.alive else 200, {})

    @router.get("/health/ready", summary="Whether it answers, and with the models that lie in its folder")
    async def ready() -> Response:
        models = {served.name: served.trained.isoformat() for served in service.models}
        failures = {name: error.partition(": ")[2] or error for name, error in service.models.failures.items()}
        return _health(200 if service.thread.alive else 503, {"models": models, "not_taken_over": failures})

    @router.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
    async def figures() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.post("/reload", summary="Take over what lies in the models' folder now")
    async def reload() -> Response:
        taken = await asyncio.to_thread(_reload, service, metrics, False)
        if failures := service.models.failures:
            raise Problem(409, "; ".join(f"{name}: {told}" for name, told in failures.items()), more={"taken": taken})
        return Response(as_json({"taken": taken}), media_type="application/json")

    return router


def _health(status: int, more: dict[str, Any]) -> Response:
    return Response(as_json({"status": "ok" if status == 200 else "down", **more}), status, None, "application/json")


def _reload(service: Service, metrics: Metrics, changed_only: bool) -> list[str]:
    before = len(service.models.failures)
    if taken := service.models.reload(changed_only=changed_only):
        _settle()
    metrics.reloaded(len(taken), max(0, len(service.models.failures) - before))
    return taken


def _settle() -> None:
    """Keep Python's collector from what is there to stay, models and libraries: it would look through all of it again
    and again while requests wait."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _watch(service: Service, metrics: Metrics, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(_reload, service, metrics, True)
        except OSError as error:  # of the folder that holds the models
            logger.warning("the models' folder cannot be looked at: %s", error)


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return Problem(error.status_code, str(error.detail), error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        wrong = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()[:_MOST_ERRORS]]
        detail = "; ".join(f"{one['where']}: {one['what']}" for one in wrong[:3])
        return Problem(422, detail, more={"errors": wrong}).response()

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return Problem(500, "a fault of the server's own; its log tells more").response()
