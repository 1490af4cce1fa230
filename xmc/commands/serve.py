"""`xmc serve`: models behind HTTP."""

import logging
import os
from pathlib import Path

from pydantic import model_validator

from xmc.commands.command import Command, Given
from xmc.config import Section
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.values import Count, Cutoff, Device, NonNegative, OwnThreads, Port, Positive, Text, Texts

logger = logging.getLogger(__name__)

TOKEN = "XMC_SERVE_TOKEN"  # in the environment; on the command line everybody would see it
_SHORTEST_TOKEN = 16


class ServeConfig(Section):
    """Models behind HTTP, and a page to try them on."""

    run: Text
    """a run, a saved model, or a folder that holds several of these"""
    host: Text = "127.0.0.1"
    """this machine alone; 0.0.0.0: whoever reaches it"""
    port: Port = 8000
    """0: any that is free, which the log tells"""
    batch_size: Count = 32
    """documents that are answered together, at most; while they are, the next are read"""
    linger: NonNegative = 0.0
    """seconds that a batch waits for more; while one is computed, the next gathers anyway"""
    queue: Count = 256
    """documents that wait, at most; beyond, 429"""
    deadline: Positive = 5.0
    """seconds from a request to its answer; beyond, 504"""
    max_documents: Count = 64
    """of a request; more are refused with 413"""
    max_k: Cutoff = 100
    """labels of a document"""
    max_body: Count = 1 << 20
    """bytes of a request"""
    connections: Count = 512
    """at once; beyond, 503"""
    drain: Positive = 10.0
    """seconds, after SIGTERM, for what has been asked already"""
    watch: NonNegative = 2.0
    """seconds between two looks at the models' folder for a new one; 0: only POST /reload"""
    together: bool = False
    """transformers and dense layers read the texts of a batch together, quicker on a GPU; a document's last bits depend
    on its neighbours then. Other models do so anyway, and theirs do not"""
    token_file: Text | None = None
    """holds what each request must bear; or XMC_SERVE_TOKEN in the environment"""
    hosts: Texts = ()
    """further names that requests may ask for; on this machine alone, its own are known"""
    origins: Texts = ()
    """pages elsewhere that may ask (CORS), such as https://catalogue.example.org"""
    device: Device = "auto"
    threads: OwnThreads = None

    @model_validator(mode="after")
    def _room_for_a_request(self) -> "ServeConfig":
        if self.queue < self.max_documents:
            raise ValueError(
                f"queue={self.queue} has no room for max_documents={self.max_documents} of one request; raise queue"
            )
        return self


def run(config: ServeConfig, _: Given) -> None:
    """Serve the models of a folder until a signal to stop comes.

    Raises:
        XMCError: the extra `serve` is missing, a model cannot be used, or the address cannot be listened on.
    """
    token = token_of(config.token_file)
    with undisturbed():
        from xmc.machine import prepare_machine

        try:
            from xmc.serve.answering import Limits, Service
            from xmc.serve.app import build
            from xmc.serve.door import Rules, is_loopback
            from xmc.serve.metrics import Metrics
            from xmc.serve.models import Models
            from xmc.serve.queueing import ModelThread, Seen
            from xmc.serve.server import listening, server_of, until_stopped
        except ModuleNotFoundError as missing:
            raise XMCError(f'xmc serve needs {missing.name}; install it: pip install "xmc[serve]"') from None

    bound = listening(config.host, config.port)
    models = Models(Path(config.run), str(prepare_machine(config.device, config.threads)), config.together)
    models.load()
    metrics = Metrics()
    thread = ModelThread(config.batch_size, config.queue, config.linger, Seen(metrics.batch, metrics.expired))
    limits = Limits(config.max_body, config.max_documents, config.max_k, config.deadline)
    rules = Rules.for_host(config.host, config.hosts, config.origins, token, config.max_body, config.deadline)
    app = build(Service(models, thread, limits), metrics, rules, config.watch)
    if token is None and not is_loopback(config.host):
        logger.warning("whoever reaches %s can ask: give a token with token_file=..., or %s", config.host, TOKEN)
    address = f"[{config.host}]" if ":" in config.host else config.host
    logger.info("http://%s:%d", address, bound.getsockname()[1])
    until_stopped(server_of(app, connections=config.connections, drain=config.drain), bound)


def token_of(file: str | None) -> str | None:
    """What a request must bear, from a file or the environment; None: nothing.

    Raises:
        XMCError: the file cannot be read, or the token is too short to be a secret, or cannot be sent.
    """
    if file is None:
        token, where = os.environ.get(TOKEN), TOKEN
    else:
        try:
            token, where = Path(file).read_text(encoding="utf-8").strip(), f"token_file={file}"
        except (OSError, ValueError) as error:
            raise XMCError(f"token_file={file} cannot be read ({error}); give a file that holds the token") from None
    if token is None:
        return None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise XMCError(
            f"{where}: expected a token of {_SHORTEST_TOKEN} ASCII characters or more, without spaces; make one with: "
            "openssl rand -hex 24"
        )
    return token


COMMAND = Command(ServeConfig, run, often=("port", "host"))
