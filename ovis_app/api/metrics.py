"""Figures for Prometheus, at /metrics: what was told of each outcome, and how much is taken at the moment of asking.

The only module that knows prometheus_client; it is imported where metrics were asked for. Says no name, no path and no
word of a conversation. Who may read them is decided before they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import anyio
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ovis_app.api.health import obstacle
from ovis_app.backend import Backend, occupancy
from ovis_app.outcomes import Outcome

METRICS = "/metrics"
FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)  # seconds
PACE = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # tokens a second


class Metrics:
    """Counts what it is told, in a registry of its own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self._answers = Counter("ovis_answers", "Answers that ended, by how they did.", ["finish"], registry=own)
        self._errors = Counter("ovis_errors", "What was refused or failed, by its kind.", ["kind"], registry=own)
        self._uploads = Counter("ovis_uploads_refused", "Uploads that were refused.", registry=own)
        self._first = Histogram(
            "ovis_time_to_first_token_seconds", "From a question to the first word, waiting included.",
            buckets=FIRST_TOKEN, registry=own,
        )  # fmt: skip
        self._pace = Histogram(
            "ovis_tokens_per_second", "Tokens a second of one answer, from its first token on.",
            buckets=PACE, registry=own,
        )  # fmt: skip
        self._prompt = Counter("ovis_prompt_tokens", "Tokens of prompts, of answers that came to an end.", registry=own)
        self._cached = Counter("ovis_prefix_cache_hit_tokens", "Of those, tokens known from before.", registry=own)
        self._generated = Counter("ovis_generated_tokens", "Tokens of answers that came to an end.", registry=own)
        ProcessCollector(registry=own)

    def tell(self, outcome: Outcome) -> None:
        """Hears how something ended."""
        if outcome.error is not None:
            self._errors.labels(outcome.error).inc()
        if outcome.what == "upload":
            self._uploads.inc()
        if outcome.what != "answer":
            return
        stats = outcome.stats
        self._answers.labels(outcome.finish).inc()
        if outcome.first_token_seconds is not None:
            self._first.observe(outcome.first_token_seconds)
        if stats.tokens_per_second is not None:
            self._pace.observe(stats.tokens_per_second)
        self._prompt.inc(stats.prompt_tokens)
        self._cached.inc(stats.cached_tokens)
        self._generated.inc(stats.answer_tokens)

    def routes(self, backend: Backend) -> list[Route]:
        """Where they are read, with how much of this backend is taken then."""
        self.registry.register(_Taken(backend))

        async def metrics(request: Request) -> Response:
            encode, kind = choose_encoder(request.headers.get("accept", ""))
            said = await anyio.to_thread.run_sync(encode, self.registry)
            return Response(said, headers={"content-type": kind, "cache-control": "no-store"})

        return [Route(METRICS, metrics, methods=["GET"])]


class _Taken(Collector):
    """What is asked for when somebody reads, instead of being written down at each change."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        taken = occupancy(self._backend)
        for name, text, value in (
            ("ready", "1 where a model can answer.", int(not obstacle(self._backend))),
            ("requests_running", "Questions that are being answered.", taken.running),
            ("requests_waiting", "Questions that wait for their turn.", taken.waiting),
            ("kv_blocks", "Blocks of keys and values there are.", taken.blocks),
            ("kv_blocks_used", "Blocks that running answers hold.", taken.blocks_used),
            ("kv_blocks_cached", "Blocks that hold what may be asked again.", taken.blocks_cached),
            ("device_memory_bytes", "Bytes that this process holds of its GPUs.", taken.device_bytes),
        ):
            if value is not None:  # what nobody can tell isn't said
                yield GaugeMetricFamily(f"ovis_{name}", text, value=value)
