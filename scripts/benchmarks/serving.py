"""Load on a server: requests a second and how long they take, at several numbers of clients.

usage: python scripts/benchmarks/serving.py http://127.0.0.1:8000 --texts test.jsonl.gz [--interface xmc | annif]
           [--project NAME] [--clients 1 8 64] [--seconds 20] [--limit 5] [--pid PID ...] [--rate R]
           [--out runs/benchmarks/serving]

Each client sends one document after the other over a connection of its own and waits for each answer, so that one that
is slow is asked less. With --rate so many requests a second are sent in all, come what may: what a server does that is
asked for more than it can. Texts are those of the field `text` of a file of JSON lines, in a fixed shuffled order.
--interface annif asks /v1/projects/NAME/suggest, which an Annif answers too; xmc asks /v1/predict. --pid: processes of
the server, whose memory (PSS and the peak of RSS) is told. Prints a table and writes OUT.json.
"""

import argparse
import asyncio
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

WARM_UP = 2.0  # seconds of requests that are not counted
GIVE_UP = 60.0  # seconds without an answer


@dataclass
class Row:
    """clients: 0 where the rate was given. Milliseconds of those answered with 200, and of all others together."""

    clients: int
    rate: float
    requests_per_s: float
    p50: float
    p95: float
    p99: float
    longest: float
    statuses: dict[str, int]
    longest_of_others: float
    mib: float
    peak_mib: float


@dataclass
class Load:
    """What is asked, and what came of it: status and seconds of each request, from a time on."""

    host: str
    port: int
    request_of: Callable[[str], bytes]
    texts: Sequence[str]
    counted_from: float = 0.0
    answers: list[tuple[int, float]] = field(default_factory=list)
    asked: int = 0

    def next_request(self) -> bytes:
        self.asked += 1
        return self.request_of(self.texts[self.asked % len(self.texts)])

    def note(self, status: int, started: float) -> None:
        if started >= self.counted_from:
            self.answers.append((status, time.perf_counter() - started))


def request_of(interface: str, url: str, project: str, limit: int) -> Callable[[str], bytes]:
    """The bytes of a request for the labels of a text."""
    parts = urlsplit(url)

    def make(text: str) -> bytes:
        if interface == "annif":
            path, kind = f"{parts.path}/v1/projects/{project}/suggest", "application/x-www-form-urlencoded"
            body = urlencode({"text": text, "limit": limit}).encode()
        else:
            path, kind = f"{parts.path}/v1/predict", "application/json"
            body = json.dumps({"texts": [text], "k": limit, **({"model": project} if project else {})}).encode()
        head = [
            f"POST {path} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*head, "\r\n"]).encode() + body

    return make


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Status, and whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"content-length:" in head:
        await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
    elif b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return status, b"connection: close" not in head


async def client(load: Load, until: float) -> None:
    """One request after the other."""
    writer = None
    while time.perf_counter() < until:
        started = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(load.host, load.port)
            writer.write(load.next_request())
            status, stays = await asyncio.wait_for(answer_of(reader), GIVE_UP)
            load.note(status, started)
            if not stays:
                writer.close()
                writer = None
        except (OSError, EOFError, TimeoutError):
            load.note(0, started)
            if writer is not None:
                writer.close()
            writer = None
            await asyncio.sleep(0.01)
    if writer is not None:
        writer.close()


async def one_request(load: Load, idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    """Over a connection that is free, or a new one. One that the server has closed meanwhile does not count."""
    started, writer, request = time.perf_counter(), None, load.next_request()
    while True:
        used = bool(idle)
        try:
            reader, writer = idle.pop() if used else await asyncio.open_connection(load.host, load.port)
            writer.write(request)
            status, stays = await asyncio.wait_for(answer_of(reader), GIVE_UP)
            load.note(status, started)
            if stays:
                idle.append((reader, writer))
                return
        except (OSError, EOFError) as error:
            if used and not getattr(error, "partial", b""):
                continue
            load.note(0, started)
        except TimeoutError:
            load.note(0, started)
        if writer is not None:
            writer.close()
        return


async def at_rate(load: Load, rate: float, until: float) -> None:
    """Requests at fixed times, whether those before are answered or not."""
    tasks: set[asyncio.Task[None]] = set()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    due = time.perf_counter()
    while due < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one_request(load, idle))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += 1 / rate
    await asyncio.gather(*tasks)


async def measure(load: Load, clients: int, rate: float, seconds: float, pids: Sequence[int]) -> Row:
    """One row of the table."""
    load.counted_from = time.perf_counter() + WARM_UP
    until = load.counted_from + seconds
    if rate:
        await at_rate(load, rate, until)
    else:
        await asyncio.gather(*(client(load, until) for _ in range(clients)))
    right = sorted(1000 * took for status, took in load.answers if status == 200) or [float("nan")]
    others = [1000 * took for status, took in load.answers if status != 200]

    def percentile(p: float) -> float:
        return right[min(len(right) - 1, int(p * len(right)))]

    now, peak = memory_of(pids)
    return Row(
        *(clients, rate, sum(status == 200 for status, _ in load.answers) / seconds),
        *(percentile(0.5), percentile(0.95), percentile(0.99), right[-1]),
        {str(status): count for status, count in sorted(Counter(s for s, _ in load.answers).items())},
        *(max(others, default=0.0), now, peak),
    )


def memory_of(pids: Sequence[int]) -> tuple[float, float]:
    """MiB that these processes hold, what they share being shared out, and the sum of their peaks."""
    now = peak = 0.0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text() + Path(f"/proc/{pid}/status").read_text()
            figures = {line.split(":")[0]: line.split()[1] for line in lines.splitlines() if line.endswith(" kB")}
            now += int(figures["Pss"]) / 1024
            peak += int(figures["VmHWM"]) / 1024
    return now, peak


def texts_of(file: Path) -> list[str]:
    """In a fixed shuffled order."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        texts = [text for line in lines if (text := json.loads(line)["text"]).strip()]
    random.Random(0).shuffle(texts)
    return texts


def table(rows: Sequence[Row]) -> str:
    """In Markdown."""
    head = ["clients", "requests/s", "p50, ms", "p95, ms", "p99, ms", "longest, ms", "answers", "MiB", "peak, MiB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        who = f"{row.rate:g} a second" if row.rate else str(row.clients)
        figures = [f"{value:.1f}" for value in (row.requests_per_s, row.p50, row.p95, row.p99, row.longest)]
        statuses = ", ".join(f"{count:,} of {status}" for status, count in row.statuses.items())
        if len(row.statuses) > 1:
            statuses += f" (others within {row.longest_of_others:.0f} ms)"
        lines.append(f"| {who} | {' | '.join(figures)} | {statuses} | {row.mib:.0f} | {row.peak_mib:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--interface", choices=["xmc", "annif"], default="xmc")
    parser.add_argument("--project", default="")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rate", type=float, nargs="+", default=[])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--pid", type=int, nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/serving"))
    options = parser.parse_args()
    parts, texts = urlsplit(options.url), texts_of(options.texts)
    make, rows = request_of(options.interface, options.url, options.project, options.limit), []
    for clients, rate in [(0, rate) for rate in options.rate] or [(clients, 0.0) for clients in options.clients]:
        load = Load(parts.hostname or "", parts.port or 80, make, texts)
        rows.append(asyncio.run(measure(load, clients, rate, options.seconds, options.pid)))
    print(table(rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(f"-> {options.out.with_suffix('.json')}")


if __name__ == "__main__":
    main()
