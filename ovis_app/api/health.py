"""Whether this process lives and whether a model can answer, for whoever restarts it or sends people to it:
/healthz and /readyz. Anybody may ask.

Knows phases. Says no name and no path: what people are told of a model may have either.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ovis_app.backend import Backend, Phase

LIVES, READY = "/healthz", "/readyz"
LEAVING = "The app is being ended."
# Who put a model aside loads it again for the next question: sent nobody, it would stay aside.
REASONS: dict[Phase, str] = {
    "starting": "The model is being loaded.",
    "loading": "The model is being loaded.",
    "failed": "The model can't be loaded, or its servers don't answer; the cause is in the server's log.",
}
RETRY_SECONDS = 5
HEADERS = {"cache-control": "no-store"}


def routes(backend: Backend, *, leaving: Callable[[], bool] = lambda: False) -> list[Route]:
    """The two routes. `leaving` is whether the process is being ended."""

    async def lives(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"}, 200, HEADERS)

    async def ready(_: Request) -> JSONResponse:
        reason = obstacle(backend, leaving=leaving())
        if not reason:
            return JSONResponse({"status": "ready"}, 200, HEADERS)
        told = {"status": "not ready", "reason": reason}
        return JSONResponse(told, 503, {**HEADERS, "retry-after": str(RETRY_SECONDS)})

    return [Route(LIVES, lives, methods=["GET"]), Route(READY, ready, methods=["GET"])]


def obstacle(backend: Backend, *, leaving: bool = False) -> str:
    """Why no model can answer just now, as a sentence; empty where one can."""
    return LEAVING if leaving else REASONS.get(backend.status().phase, "")
