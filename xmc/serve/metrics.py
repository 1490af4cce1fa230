"""What the server counts, in Prometheus' text format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DOCUMENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter("xmc_requests", "Requests answered", ["route", "status"], registry=self.registry)
        self._seconds = Histogram(
            "xmc_request_seconds",
            "From a request's head to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "xmc_batch_documents", "Documents of a batch", buckets=_DOCUMENTS, registry=self.registry
        )
        self._computed = Counter("xmc_model_seconds", "Time that the model thread has worked", registry=self.registry)
        self._expired = Counter(
            "xmc_documents_dropped", "Documents not computed: late, or nobody waits for them", registry=self.registry
        )
        self._reloads = Counter("xmc_reloads", "Models taken over, or not", ["result"], registry=self.registry)

    def watch(self, waiting: Callable[[], int], wait: Callable[[], float]) -> None:
        """Ask for the length of the queue whenever somebody asks for the metrics."""
        Gauge("xmc_queue_documents", "Documents that wait", registry=self.registry).set_function(waiting)
        Gauge("xmc_queue_seconds", "How long a new one would wait", registry=self.registry).set_function(wait)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, documents: int, seconds: float) -> None:
        self._batches.observe(documents)
        self._computed.inc(seconds)

    def expired(self, documents: int) -> None:
        self._expired.inc(documents)

    def reloaded(self, taken: int, failed: int) -> None:
        self._reloads.labels("taken").inc(taken)
        self._reloads.labels("failed").inc(failed)

    def text(self) -> bytes:
        return generate_latest(self.registry)
