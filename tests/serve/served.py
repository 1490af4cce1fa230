"""Small models, and a server of them on the loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from json import dumps, loads
from pathlib import Path
from typing import Any

import torch

from xmc.model import XMCModel
from xmc.model.bag import BagConfig, BagModel
from xmc.model.classifier import Classifier, FixedFanIn
from xmc.model.dense import Dense
from xmc.model.encoder import Encoder
from xmc.model.intermediate import Identity, Linear
from xmc.model.word_tokenizer import WordTokenizer
from xmc.serve.answering import Limits, Service
from xmc.serve.app import build
from xmc.serve.door import Rules
from xmc.serve.metrics import Metrics
from xmc.serve.models import Models
from xmc.serve.queueing import ModelThread, Seen
from xmc.serve.server import listening, server_of
from xmc.sparsity.topology import init_index

TEXTS = ["open the file", "close the file again and again", "the cat sat", "a dog ran home to the cat", "file"] * 8


def make_model(
    *, labels: int = 40, width: int = 24, classifier: str = "sparse", intermediate: bool = False
) -> XMCModel:
    """A bag with random weights."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    tokenizer = WordTokenizer.learned(TEXTS, 50)
    bag = BagModel(BagConfig(len(tokenizer), 0, hidden_size=width))
    layer: Linear | Identity = Linear(width, 2 * width, "gelu") if intermediate else Identity(width)
    head: Classifier = Dense(layer.width, labels, generator=generator)
    if classifier == "sparse":
        index = init_index(labels, 8, layer.width, 0)
        head = FixedFanIn(layer.width, index, backend="numba", generator=generator)
    encoder = Encoder(bag, tokenizer, pooling="none", max_length=32)
    ids, names = [f"l{i}" for i in range(labels)], [f"Label ü{i}" for i in range(labels)]
    return XMCModel(encoder, layer, head, label_ids=ids, label_names=names, loss="bce").eval()


LIMITS = Limits(body=20_000, documents=40, k=30, deadline=20.0)
RULES = Rules.for_host("127.0.0.1", (), (), None, body=20_000, patience=20.0)


class Answer:
    """Of a request."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return loads(self.body)


class Server:
    """On a free port. service: what it answers with."""

    def __init__(self, port: int, service: Service) -> None:
        self.port, self.service = port, service

    def ask(self, path: str, body: object = None, *, method: str = "", **headers: str) -> Answer:
        """body: bytes as they are, anything else as JSON; None: GET."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if body is None or isinstance(body, bytes) else dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None and not isinstance(body, bytes):
            given.setdefault("Content-Type", "application/json")
        connection.request(method or ("GET" if body is None else "POST"), path, data, given)
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer


@contextmanager
def running(
    root: Path,
    limits: Limits = LIMITS,
    rules: Rules = RULES,
    *,
    room: int = 64,
    batch: int = 16,
    watch: float = 0.0,
) -> Iterator[Server]:
    """A server of the models in a folder, in a thread."""
    models, metrics = Models(root, "cpu"), Metrics()
    models.load()
    service = Service(models, ModelThread(batch, room, 0.0, Seen(metrics.batch, metrics.expired)), limits)
    bound = listening("127.0.0.1", 0)
    server = server_of(build(service, metrics, rules, watch), connections=100, drain=5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    port = bound.getsockname()[1]
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.01)
        yield Server(port, service)
    finally:
        server.should_exit = True
        thread.join()


def with_limits(**changes: Any) -> Limits:
    return replace(LIMITS, **changes)


def with_rules(**changes: Any) -> Rules:
    return replace(RULES, **changes)
