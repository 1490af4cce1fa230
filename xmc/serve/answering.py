"""What the routes of all interfaces share: from a request's texts to the model thread's answers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import Field

from xmc.errors import XMCError
from xmc.model import Prediction
from xmc.serve.models import Explain, Models, Served, Suggest, UnknownModel
from xmc.serve.problems import HUNG_UP, Problem
from xmc.serve.queueing import Full, Gone, Late, ModelThread, Work
from xmc.serve.server import ARRIVED

K = Annotated[int, Field(ge=1, description="labels of a document, at most")]
DocumentText = Annotated[str, Field(json_schema_extra={"pattern": r"\S"})]
Threshold = Annotated[
    Annotated[float, Field(ge=0, le=1)] | Literal["auto"] | None,
    Field(description="probability that a label needs, from 0 to 1; auto: as `xmc calibrate` chose; null: none"),
]


@dataclass(frozen=True, slots=True)
class Limits:
    """body: bytes of a request. documents: of a request. k: labels of a document. deadline: seconds."""

    body: int
    documents: int
    k: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Service:
    """Models and the thread that they work in."""

    models: Models
    thread: ModelThread
    limits: Limits

    def model(self, name: str | None) -> Served:
        try:
            return self.models.get(name)
        except UnknownModel as unknown:
            raise Problem(404, str(unknown)) from None

    def check_room(self, arrived: float) -> None:
        """Raise Problem where not even one document has room, so that nothing more is done for its request."""
        try:
            self.thread.check_room(1, arrived + self.limits.deadline)
        except Full as full:
            raise _refused(full) from None

    async def suggest(
        self, request: Request, served: Served, texts: Sequence[str], k: int | None, threshold: float | str | None
    ) -> list[list[Prediction]]:
        """The best labels of each text.

        Raises:
            Problem: there are too many texts or one has no word, the model has no thresholds, or as for `work`.
        """
        if len(texts) > self.limits.documents:
            raise Problem(413, f"{len(texts)} documents; send {self.limits.documents} at most with one request")
        if k is not None and k > self.limits.k:
            raise Problem(422, f"k is {k}; this server gives {self.limits.k} labels at most")
        if served.reads_text:
            for place, text in enumerate(texts):
                if not text.strip():
                    raise Problem(422, f"text {place} is empty; expected at least one word")
        try:
            most = served.model.default_k(threshold) if k is None else k  # type: ignore[arg-type]
        except XMCError as error:
            raise Problem(422, str(error)) from None
        most = min(most, len(served.model.label_ids))
        return await self.work(request, Suggest(served, most, threshold), texts)  # type: ignore[arg-type]

    async def explain(self, request: Request, served: Served, text: str, labels: Sequence[str]) -> list[Any]:
        """What speaks for and against each label."""
        if not served.explains:
            raise Problem(422, f"the model {served.name} gives no reasons")
        if not text.strip():
            raise Problem(422, "the text is empty; expected at least one word")
        (answer,) = await self.work(request, Explain(served, tuple(labels)), [text])
        return list(answer)

    async def work(self, request: Request, work: Work, texts: Sequence[str]) -> list[Any]:
        """Answers of the model thread.

        Raises:
            Problem: 429 where the queue is full, 504 past the deadline, 422 where the model refuses a text.
        """
        if not texts:
            return []
        deadline = request.scope[ARRIVED] + self.limits.deadline
        try:
            return await self.thread.answer(work, texts, deadline, _hung_up(request))
        except Full as full:
            raise _refused(full) from None
        except Late:
            raise Problem(504, f"no answer within {self.limits.deadline:g} s; send fewer documents") from None
        except Gone:
            raise Problem(HUNG_UP, "the client has hung up") from None
        except XMCError as error:
            raise Problem(422, str(error)) from None


def _refused(full: Full) -> Problem:
    return Problem(429, f"the queue is full; {full}", {"Retry-After": str(full.retry_after)})


def _hung_up(request: Request) -> Callable[[], Awaitable[object]]:
    """Returns when the client has closed the connection; the request's body has been read before."""

    async def wait() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return wait
