"""The REST interface of Annif (https://annif.org), version 1: a model is a project."""

from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import Response

from xmc.model import Prediction
from xmc.serve.answering import DocumentText, Service
from xmc.serve.models import Served
from xmc.serve.problems import Problem, as_json

MOST_DOCUMENTS = 32  # of a batch, as there
_MOST_FIELDS = 20  # of a form

Limit = Annotated[int, Field(ge=1, description="suggestions, at most")]
Least = Annotated[float, Field(ge=0, le=1, description="score that a suggestion needs")]


class Form(BaseModel):
    """Of /suggest. language and all else is passed over: a model has one name a label."""

    model_config = ConfigDict(allow_inf_nan=False)

    text: DocumentText
    limit: Limit = 10
    threshold: Least = 0.0


class BatchDocument(BaseModel):
    text: DocumentText
    document_id: str | None = None


class Batch(BaseModel):
    documents: list[BatchDocument]


class Backend(BaseModel):
    backend_id: str


class Project(BaseModel):
    project_id: str
    name: str
    language: str
    backend: Backend
    is_trained: bool
    modification_time: str


class Projects(BaseModel):
    projects: list[Project]


class Suggestion(BaseModel):
    uri: str
    label: str
    notation: str | None
    score: float


class Suggestions(BaseModel):
    results: list[Suggestion]


class BatchSuggestions(BaseModel):
    document_id: str | None
    results: list[Suggestion]


class Info(BaseModel):
    title: str
    version: str


def routes(service: Service, route: type[APIRoute], version: str) -> APIRouter:
    """`/v1/`, `/v1/projects`, `/v1/projects/{id}`, and `suggest` and `suggest-batch` below it."""
    router = APIRouter(prefix="/v1", tags=["Annif"], route_class=route)

    @router.get("/", summary="What answers")
    async def info() -> Info:
        return Info(title="xmc", version=version)

    @router.get("/projects", summary="The models, as projects")
    async def projects() -> Projects:
        return Projects(projects=[*map(_project, service.models)])

    @router.get("/projects/{project_id}", summary="A model, as a project")
    async def project(project_id: Annotated[str, Path()]) -> Project:
        return _project(service.model(project_id))

    @router.post(
        "/projects/{project_id}/suggest",
        summary="Subjects of a text",
        responses={200: {"model": Suggestions}},
        openapi_extra=_form(Form.model_json_schema()),
    )
    async def suggest(request: Request, project_id: str) -> Response:
        served = service.model(project_id)
        form = _parsed(await request.body())
        limit = min(form.limit, service.limits.k)
        (answer,) = await service.suggest(request, served, [form.text], limit, form.threshold)
        return Response(as_json({"results": [*map(_suggestion, answer)]}), media_type="application/json")

    @router.post(
        "/projects/{project_id}/suggest-batch",
        summary=f"Subjects of up to {MOST_DOCUMENTS} texts",
        responses={200: {"model": list[BatchSuggestions]}},
    )
    async def suggest_batch(
        request: Request,
        project_id: str,
        body: Batch,
        limit: Annotated[Limit, Query()] = 10,
        threshold: Annotated[Least, Query(allow_inf_nan=False)] = 0.0,
    ) -> Response:
        served = service.model(project_id)
        if len(body.documents) > MOST_DOCUMENTS:
            raise Problem(413, f"{len(body.documents)} documents; send {MOST_DOCUMENTS} at most with one request")
        texts = [document.text for document in body.documents]
        answers = await service.suggest(request, served, texts, min(limit, service.limits.k), threshold)
        results = [
            {"document_id": document.document_id, "results": [*map(_suggestion, answer)]}
            for document, answer in zip(body.documents, answers, strict=True)
        ]
        return Response(as_json(results), media_type="application/json")

    return router


def _project(served: Served) -> Project:
    return Project(
        project_id=served.name,
        name=served.name,
        language="und",
        backend=Backend(backend_id="xmc"),
        is_trained=True,
        modification_time=served.trained.isoformat(),
    )


def _suggestion(prediction: Prediction) -> dict[str, Any]:
    return {"uri": prediction.label, "label": prediction.name, "notation": None, "score": prediction.score}


_FORM = TypeAdapter(Form)


def _parsed(body: bytes) -> Form:
    """The form of /suggest, `application/x-www-form-urlencoded`.

    Raises:
        Problem: it is none, or a field is missing or out of bounds.
    """
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
        return _FORM.validate_python({name: values[-1] for name, values in fields.items()})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise Problem(422, f"expected application/x-www-form-urlencoded in UTF-8: {error}") from None


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}}
