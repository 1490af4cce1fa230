"""The model thread: what is done together, what is refused, what is left undone."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from xmc.serve.queueing import Full, Gone, Late, ModelThread, Seen


@dataclass(eq=False)
class Slow:
    """Waits to be let go before each batch, and tells what it was given."""

    free: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    batches: list[list[str]] = field(default_factory=list)

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        self.batches.append(list(texts))
        self.begun.set()
        assert self.free.wait(20)
        if "bad" in texts:
            raise ValueError("a bad text")
        return [text.upper() for text in texts]


@contextmanager
def started(batch: int = 4, room: int = 10, linger: float = 0.0, seen: Seen | None = None) -> Iterator[ModelThread]:
    thread = ModelThread(batch, room, linger, seen or Seen())
    thread.start()
    yield thread
    thread.close()


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


async def began(work: Slow) -> None:
    assert await asyncio.to_thread(work.begun.wait, 20)


def test_what_comes_while_a_batch_is_computed_is_the_next_batch() -> None:
    async def main(thread: ModelThread, work: Slow) -> list[list[str]]:
        first = asyncio.create_task(thread.answer(work, ["a"], soon()))
        await began(work)
        rest = [asyncio.create_task(thread.answer(work, [text], soon())) for text in "bcdef"]
        await asyncio.sleep(0.05)
        work.free.set()
        return await asyncio.gather(first, *rest)

    with started() as thread:
        work = Slow()
        assert asyncio.run(main(thread, work)) == [[letter] for letter in "ABCDEF"]
    assert work.batches == [["a"], ["b", "c", "d", "e"], ["f"]]


def test_a_batch_lingers_for_more() -> None:
    async def main(thread: ModelThread, work: Slow) -> None:
        first = asyncio.create_task(thread.answer(work, ["a"], soon()))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, thread.answer(work, ["b"], soon()))

    with started(linger=0.5) as thread:
        work = Slow()
        work.free.set()
        asyncio.run(main(thread, work))
    assert work.batches == [["a", "b"]]


def test_a_request_of_many_texts_is_cut_and_put_together() -> None:
    with started() as thread:
        work = Slow()
        work.free.set()
        assert asyncio.run(thread.answer(work, list("abcdefghi"), soon())) == list("ABCDEFGHI")
    assert [len(batch) for batch in work.batches] == [4, 4, 1]


def test_other_work_is_another_batch() -> None:
    async def main(thread: ModelThread, one: Slow, other: Slow) -> None:
        first = asyncio.create_task(thread.answer(one, ["a"], soon()))
        await began(one)
        rest = [thread.answer(work, [text], soon()) for text, work in zip("bcd", (one, other, one), strict=True)]
        tasks = [asyncio.create_task(task) for task in rest]
        await asyncio.sleep(0.05)
        one.free.set(), other.free.set()
        await asyncio.gather(first, *tasks)

    with started() as thread:
        one, other = Slow(), Slow()
        asyncio.run(main(thread, one, other))
    assert (one.batches, other.batches) == ([["a"], ["b", "d"]], [["c"]])


def test_beyond_the_room_nothing_waits() -> None:
    async def main(thread: ModelThread, work: Slow) -> None:
        tasks = [asyncio.create_task(thread.answer(work, ["a"], soon()))]
        await began(work)
        tasks += [asyncio.create_task(thread.answer(work, ["b"] * 5, soon())) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert thread.waiting == 10
        with pytest.raises(Full) as full:
            await thread.answer(work, ["c"], soon())
        assert full.value.retry_after >= 1
        work.free.set()
        await asyncio.gather(*tasks)
        assert await thread.answer(work, ["c"], soon()) == ["C"]

    with started() as thread:
        asyncio.run(main(thread, Slow()))


def test_who_would_wait_beyond_the_deadline_is_told_at_once() -> None:
    def slow(texts: Sequence[str]) -> list[Any]:
        time.sleep(0.1 * len(texts))
        return list(texts)

    async def main(thread: ModelThread) -> None:
        await thread.answer(slow, ["a"], soon())
        task = asyncio.create_task(thread.answer(slow, ["b"] * 8, soon()))
        await asyncio.sleep(0.02)
        with pytest.raises(Full):
            await thread.answer(slow, ["c"], soon(0.3))
        await task

    with started() as thread:
        asyncio.run(main(thread))


def test_past_its_deadline_a_request_is_answered_and_not_computed() -> None:
    expired: list[int] = []

    async def main(thread: ModelThread, work: Slow) -> None:
        first = asyncio.create_task(thread.answer(work, ["a"], soon()))
        await began(work)
        started = time.monotonic()
        with pytest.raises(Late):
            await thread.answer(work, ["late", "later"], soon(0.2))
        assert time.monotonic() - started < 2
        work.free.set()
        await first
        await thread.answer(work, ["b"], soon())

    with started(seen=Seen(expired=expired.append)) as thread:
        work = Slow()
        asyncio.run(main(thread, work))
    assert work.batches == [["a"], ["b"]] and sum(expired) == 2


def test_who_hangs_up_is_not_computed() -> None:
    async def main(thread: ModelThread, work: Slow) -> None:
        first = asyncio.create_task(thread.answer(work, ["a"], soon()))
        await began(work)
        with pytest.raises(Gone):
            await thread.answer(work, ["gone"], soon(), lambda: asyncio.sleep(0.05))
        work.free.set()
        await first

    with started() as thread:
        work = Slow()
        asyncio.run(main(thread, work))
    assert work.batches == [["a"]]


def test_a_text_that_fails_fails_alone() -> None:
    async def main(thread: ModelThread, work: Slow) -> list[Any]:
        first = asyncio.create_task(thread.answer(work, ["a"], soon()))
        await began(work)
        rest = [asyncio.create_task(thread.answer(work, [text], soon())) for text in ("b", "bad", "c")]
        await asyncio.sleep(0.05)
        work.free.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    with started() as thread:
        answers = asyncio.run(main(thread, Slow()))
    assert [answers[0], answers[1], answers[3]] == [["A"], ["B"], ["C"]]
    assert isinstance(answers[2], ValueError)


def test_closing_answers_what_waits() -> None:
    async def main(thread: ModelThread, work: Slow) -> None:
        tasks = [asyncio.create_task(thread.answer(work, [text], soon())) for text in "abc"]
        await began(work)
        closing = asyncio.create_task(asyncio.to_thread(thread.close))
        work.free.set()
        assert await asyncio.gather(*tasks) == [["A"], ["B"], ["C"]]
        await closing
        assert not thread.alive
        with pytest.raises(Full):
            await thread.answer(work, ["d"], soon())

    thread = ModelThread(4, 10, 0.0)
    thread.start()
    asyncio.run(main(thread, Slow()))
