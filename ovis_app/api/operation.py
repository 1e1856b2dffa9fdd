"""What whoever runs the app hears of it: /healthz and /readyz, and figures and a log of
outcomes where they were asked for.

Knows which of them were. Refuses to know what they say.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from ovis_app import logs
from ovis_app.api import health
from ovis_app.backend import Backend
from ovis_app.outcomes import Outcome, Tell
from ovis_app.settings import Settings


class Operation:
    """`leaving` is whether the process is being ended."""

    def __init__(self, settings: Settings, *, leaving: Callable[[], bool] = lambda: False) -> None:
        self._leaving = leaving
        self._listeners: list[Tell] = [logs.tell] if settings.log_format == "json" else []
        self._metrics = None
        if settings.metrics != "off":
            from ovis_app.api.metrics import Metrics  # and with it prometheus_client, which nobody else needs

            self._metrics = Metrics()
            self._listeners.append(self._metrics.tell)

    def tell(self, outcome: Outcome) -> None:
        """Hears how something that was asked for ended."""
        for listener in self._listeners:
            listener(outcome)

    def routes(self, backend: Backend) -> list[Route]:
        """What may be asked of this backend."""
        figures = [] if self._metrics is None else self._metrics.routes(backend)
        return [*health.routes(backend, leaving=self._leaving), *figures]
