"""Counters and times of the server, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Each server has its own. All names begin with `grip_vlm_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "chat completion requests by HTTP status", ["status"])
        self.visual = self._counter("visual_tokens", "visual tokens of answered requests, before pruning")
        self.asked = self._counter("visual_tokens_asked", "visual tokens that the budgets of requests give")
        self.kept = self._counter("visual_tokens_kept", "visual tokens that were kept")
        self.prompt = self._counter("prompt_tokens", "text and kept visual tokens read by the language model")
        self.completion = self._counter("completion_tokens", "tokens of answers")
        self.restarts = self._counter("worker_restarts", "workers that ended and were replaced")
        self.redone = self._counter("requests_redone", "requests that were begun again after a worker ended")
        self.waiting = self._gauge("requests_waiting", "requests in the queue")
        self.running = self._gauge("requests_running", "requests that are being answered")
        self.share = self._gauge("budget_share", "what the load leaves of each budget")
        self.seconds = self._histogram("request_seconds", "time of a request from its arrival to its answer", SECONDS)
        self.first = self._histogram("first_text_seconds", "time from arrival to the first text", SECONDS)
        self.rows = self._histogram("batch_rows", "requests answered together", (1, 2, 4, 8, 16, 32, 64, 128))

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"grip_vlm_{name}", text, labels or [], registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"grip_vlm_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"grip_vlm_{name}", text, buckets=buckets, registry=self.registry)

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)
