"""`xmc serve`: models behind HTTP."""

import logging
import os
from pathlib import Path

from pydantic import model_validator

from xmc.commands.command import Command, Given
from xmc.config import Section
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.values import Count, Cutoff, NonNegative, Port, Positive, Text, Texts, Threads

logger = logging.getLogger(__name__)

TOKEN = "XMC_SERVE_TOKEN"  # in the environment; on the command line everybody would see it
_SHORTEST_TOKEN = 16


class ServeConfig(Section):
    """See `conf/serve.yaml`."""

    run: Text
    host: Text
    port: Port
    batch_size: Count
    linger: NonNegative
    queue: Count
    deadline: Positive
    max_documents: Count
    max_k: Cutoff
    max_body: Count
    connections: Count
    drain: Positive
    watch: NonNegative
    together: bool
    token_file: Text | None
    hosts: Texts
    origins: Texts
    device: str
    threads: Threads | None

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
        from xmc import factory

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
    models = Models(Path(config.run), str(factory.prepare_machine(config.device, config.threads)), config.together)
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


COMMAND = Command(ServeConfig, run)
