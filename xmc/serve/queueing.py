"""The model thread: a bounded queue in front, whose requests are answered in batches."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

_MEMORY = 0.9  # of the pace, for each batch
_SHARE = 0.5  # of the time that is left, that a request is expected to wait at most: the pace may fall


class Work(Protocol):
    """What is to be done with texts. Equal ones are done together: a text's answer does not depend on the others."""

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """An answer a text."""
        ...

    def __hash__(self) -> int: ...


class Full(Exception):
    """There is no room in the queue, or the wait would be beyond the deadline. retry_after: seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"try again in {retry_after} s")
        self.retry_after = retry_after


class Late(Exception):
    """The deadline has passed."""


class Gone(Exception):
    """Who asked has hung up."""


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    texts: Sequence[str]
    deadline: float
    future: "asyncio.Future[list[Any]]"


@dataclass(frozen=True, slots=True)
class Seen:
    """What `ModelThread` tells of its work. batch: documents and seconds of each batch."""

    batch: Callable[[int, float], None] = lambda documents, seconds: None
    expired: Callable[[int], None] = lambda documents: None


@dataclass(eq=False)
class ModelThread:
    """One thread that answers all requests, as its models are not made for several, and all cores are theirs.

    batch: documents that are answered together, at most. room: documents that wait, at most. linger: seconds that a
    batch waits for more, from its first request on; while one is computed, the next gathers anyway.
    """

    batch: int
    room: int
    linger: float
    seen: Seen = Seen()
    _jobs: deque[_Job] = field(default_factory=deque, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _waiting: int = field(default=0, init=False)
    _computing: int = field(default=0, init=False)
    _closed: bool = field(default=False, init=False)
    _pace: float = field(default=0.0, init=False)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Documents in the queue."""
        return self._waiting

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def wait(self) -> float:
        """Seconds until a document that came now would be begun, by the pace of the last batches."""
        return (self._waiting + self._computing) * self._pace

    def check_room(self, documents: int, deadline: float) -> None:
        """Raise Full where so many more have no room, or would not be begun before the deadline."""
        late = self.wait > _SHARE * (deadline - time.monotonic())
        if self._closed or late or self._waiting + documents > self.room:
            raise Full(max(1, math.ceil(self.wait)))

    async def answer(
        self, work: Work, texts: Sequence[str], deadline: float, hung_up: Callable[[], Awaitable[object]] | None = None
    ) -> list[Any]:
        """An answer a text. deadline: by `time.monotonic`. hung_up: returns when nobody waits for the answer any more.

        Raises:
            Full: at once.
            Late: at the deadline; what is not begun by then is not computed.
            Gone: `hung_up` has returned.
            Exception: what the work raised.
        """
        loop = asyncio.get_running_loop()
        parts = [texts[start : start + self.batch] for start in range(0, len(texts), self.batch)]
        jobs = [_Job(work, part, deadline, loop.create_future()) for part in parts]
        with self._changed:
            left = deadline - time.monotonic()
            self.check_room(len(texts), deadline)
            self._jobs += jobs
            self._waiting += len(texts)
            self._changed.notify()
        futures = [job.future for job in jobs]
        timer = loop.call_later(left, _fail, futures, Late)
        leaving = None if hung_up is None else asyncio.ensure_future(hung_up())
        if leaving is not None:
            leaving.add_done_callback(lambda _: _fail(futures, Gone))
        try:
            return [answer for future in futures for answer in await future]
        finally:
            timer.cancel()
            if leaving is not None:
                leaving.cancel()
            for future in futures:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # so that none is told as one that nobody asked for

    def _run(self) -> None:
        while batch := self._next():
            self._computing = sum(len(job.texts) for job in batch)
            started = time.perf_counter()
            outcomes = _outcomes(batch)
            seconds = time.perf_counter() - started
            pace = seconds / self._computing
            self._pace = pace if not self._pace else _MEMORY * self._pace + (1 - _MEMORY) * pace
            self.seen.batch(self._computing, seconds)
            self._computing = 0
            with suppress(RuntimeError):  # the loop has been closed: nobody waits
                batch[0].future.get_loop().call_soon_threadsafe(_deliver, batch, outcomes)

    def _next(self) -> list[_Job]:
        """The jobs to do now, the longest waiting first; none: it is closed, and all is done."""
        with self._changed:
            while not (self._drop_what_nobody_wants() or self._closed):
                self._changed.wait()
            if not self._jobs:
                return []
            until = time.monotonic() + self.linger
            while self._waiting < self.batch and not self._closed and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            self._drop_what_nobody_wants()
            batch: list[_Job] = []
            size, rest = 0, deque[_Job]()
            for job in self._jobs:
                if (not batch or job.work == batch[0].work) and size + len(job.texts) <= self.batch:
                    batch.append(job)
                    size += len(job.texts)
                else:
                    rest.append(job)
            self._jobs = rest
            self._waiting -= size
        return batch or self._next()

    def _drop_what_nobody_wants(self) -> bool:
        """Leave out what is past its deadline or given up. Returns whether there is anything left."""
        now = time.monotonic()
        kept = deque(job for job in self._jobs if job.deadline > now and not job.future.done())
        if len(kept) < len(self._jobs):
            left = sum(len(job.texts) for job in kept)
            self.seen.expired(self._waiting - left)
            self._jobs, self._waiting = kept, left
        return bool(self._jobs)


def _fail(futures: "list[asyncio.Future[list[Any]]]", reason: type[Exception]) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(reason())


def _outcomes(batch: list[_Job]) -> list[list[Any] | BaseException]:
    """The answers of each job, or what went wrong with it. Where all together fail, each is tried by itself."""
    work, texts = batch[0].work, [text for job in batch for text in job.texts]
    try:
        answers = iter(work(texts))
        return [[next(answers) for _ in job.texts] for job in batch]
    except Exception as error:
        if len(batch) == 1:
            return [error]
        return [outcome for job in batch for outcome in _outcomes([job])]


def _deliver(batch: list[_Job], outcomes: list[list[Any] | BaseException]) -> None:
    for job, outcome in zip(batch, outcomes, strict=True):
        if job.future.done():
            continue
        if isinstance(outcome, BaseException):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
