"""`POST /predict` of text-embeddings-inference (https://huggingface.co/docs/text-embeddings-inference)."""

import sys
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from xmc.model import Prediction
from xmc.serve.answering import DocumentText, K, Service
from xmc.serve.problems import Problem, as_json

_LARGEST = sys.float_info.max

Single = Annotated[DocumentText, Field(title="a text")]
Batch = Annotated[list[list[DocumentText]], Field(title="lists of one text each")]
One = Annotated[list[DocumentText], Field(title="a list of one text")]


class InferenceRequest(BaseModel):
    """inputs: a text, or lists of one text each. k and model are ours. Texts are always cut at the encoder's length."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    inputs: Single | One | Batch
    raw_scores: bool = False
    truncate: bool | None = None
    k: K | None = None
    model: str | None = None


class Score(BaseModel):
    score: float
    label: str


def routes(service: Service, route: type[APIRoute]) -> APIRouter:
    """`/predict`."""
    router = APIRouter(tags=["text-embeddings-inference"], route_class=route)

    @router.post(
        "/predict",
        summary="The best labels of a text, or of several",
        responses={200: {"model": list[Score] | list[list[Score]]}},
    )
    async def predict(request: Request, body: InferenceRequest) -> Response:
        served = service.model(body.model)
        texts = _texts(body.inputs)
        answers = await service.suggest(request, served, texts, body.k, None)
        scores = [[_score(prediction, body.raw_scores) for prediction in answer] for answer in answers]
        several = isinstance(body.inputs, list) and not all(isinstance(one, str) for one in body.inputs)
        return Response(as_json(scores if several or not scores else scores[0]), media_type="application/json")

    return router


def _texts(inputs: str | list[str] | list[list[str]]) -> list[str]:
    if isinstance(inputs, str):
        return [inputs]
    sequences = [inputs] if inputs and isinstance(inputs[0], str) else inputs
    if any(len(sequence) != 1 for sequence in sequences):
        raise Problem(422, "inputs: a list has other than one text; pairs are for models that compare two")
    return [sequence[0] for sequence in sequences]


def _score(prediction: Prediction, raw: bool) -> dict[str, Any]:
    """raw: the logit, which may be infinite where the probability is 0 or 1; JSON has no such number."""
    score = min(max(prediction.logit, -_LARGEST), _LARGEST) if raw else prediction.score
    return {"score": score, "label": prediction.label}
