"""Our own routes."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from xmc.model import Prediction
from xmc.serve.answering import DocumentText, K, Service, Threshold
from xmc.serve.problems import as_json


class Body(BaseModel):
    """Of a request: what is not known is an error, and not passed over."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class Document(Body):
    """id: the document's place, from 1, where there is none."""

    id: str | None = None
    text: DocumentText


class PredictRequest(Body):
    """Give `texts` or `documents`. Of a model of sparse features a text is a row `feature:value ...`."""

    texts: list[DocumentText] | None = None
    documents: list[Document] | None = None
    k: K | None = None
    threshold: Threshold = None
    model: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "PredictRequest":
        if (self.texts is None) == (self.documents is None):
            raise ValueError("give texts or documents")
        return self


class Label(BaseModel):
    """above: names of the labels above it, the topmost first."""

    label: str
    name: str
    score: float
    above: list[str] = []


class Result(BaseModel):
    id: str
    labels: list[Label]


class PredictResponse(BaseModel):
    model: str
    results: list[Result]


class ExplainRequest(Body):
    text: DocumentText
    labels: Annotated[list[str], Field(min_length=1, max_length=20)]
    model: str | None = None


class Contribution(BaseModel):
    """Characters of the text, counted in Unicode code points, and how much they speak for the label, or against it."""

    start: int
    end: int
    text: str
    weight: float


class Explanation(BaseModel):
    """score: log-odds, which are base and the weights of all terms together."""

    label: str
    score: float
    base: float
    terms: list[Contribution]


class ExplainResponse(BaseModel):
    model: str
    explanations: list[Explanation]


class ModelInfo(BaseModel):
    """threshold: the calibrated one, null where there is none. own_thresholds: labels have their own."""

    name: str
    labels: int
    trained: str
    threshold: float | None
    own_thresholds: bool
    reads_text: bool
    explains: bool


class ModelList(BaseModel):
    models: list[ModelInfo]


def _label(prediction: Prediction) -> dict[str, Any]:
    told: dict[str, Any] = {"label": prediction.label, "name": prediction.name, "score": prediction.score}
    return told | {"above": prediction.above} if prediction.above else told


def routes(service: Service, route: type[APIRoute]) -> APIRouter:
    """`/v1/predict`, `/v1/explain` and `/v1/models`."""
    router = APIRouter(prefix="/v1", tags=["xmc"], route_class=route)

    @router.post("/predict", summary="The best labels of documents", responses={200: {"model": PredictResponse}})
    async def predict(request: Request, body: PredictRequest) -> Response:
        served = service.model(body.model)
        documents = body.documents or [Document(text=text) for text in body.texts or ()]
        texts = [document.text for document in documents]
        answers = await service.suggest(request, served, texts, body.k, body.threshold)
        results = [
            {"id": str(place) if document.id is None else document.id, "labels": [*map(_label, labels)]}
            for place, (document, labels) in enumerate(zip(documents, answers, strict=True), start=1)
        ]
        return Response(as_json({"model": served.name, "results": results}), media_type="application/json")

    @router.post(
        "/explain",
        summary="What in a text speaks for labels, and against them",
        responses={200: {"model": ExplainResponse}},
    )
    async def explain(request: Request, body: ExplainRequest) -> Response:
        served = service.model(body.model)
        answers = await service.explain(request, served, body.text, body.labels)
        explanations = [
            {
                "label": answer.label,
                "score": answer.score,
                "base": answer.base,
                "terms": [{name: getattr(term, name) for name in Contribution.model_fields} for term in answer.terms],
            }
            for answer in answers
        ]
        return Response(as_json({"model": served.name, "explanations": explanations}), media_type="application/json")

    @router.get("/models", summary="The models that are served")
    async def models() -> ModelList:
        return ModelList(
            models=[
                ModelInfo(
                    name=served.name,
                    labels=len(served.model.label_ids),
                    trained=served.trained.isoformat(),
                    threshold=served.threshold,
                    own_thresholds=served.own_thresholds,
                    reads_text=served.reads_text,
                    explains=served.explains,
                )
                for served in service.models
            ]
        )

    return router
