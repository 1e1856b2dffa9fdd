"""What may be asked over HTTP: the routes of Gradio that the page and programs use, a row each. All else isn't there.

Knows paths, methods and how large a body may be. Knows nothing of what the routes do.

Gradio serves more than this page needs: proxies, recordings that are handed to FFmpeg, links that keep a session's
components, an older spelling of the file route. A list of what is needed stays right when Gradio adds to that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

FILE_ROUTE = "/gradio_api/file="
SMALL = 64 * 1024  # bytes of a body that hardly says anything
JSON = 4 * 1024 * 1024  # bytes of an event's inputs; parsed at once, with everybody waiting

Body = Literal["small", "json", "files"]


@dataclass(frozen=True)
class Route:
    """One kind of request. `path` is matched against the whole decoded path, behind any prefix of the app."""

    method: str
    path: re.Pattern[str]
    body: Body = "small"


_NAME = r"[A-Za-z0-9_.-]{1,200}"
_STATIC = r"(?:[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,200}/){0,8}[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,200}"


def _row(method: str, path: str, body: Body = "small") -> Route:
    return Route(method, re.compile(path), body)


ROUTES: tuple[Route, ...] = (
    _row("GET", r"/|/config/?|/theme\.css|/robots\.txt|/manifest\.json|/favicon\.ico"),
    _row("GET", rf"/(?:assets|static|svelte)/{_STATIC}"),
    _row("GET", r"/gradio_api/(?:info|user|login_check|app_id|token)/?"),
    _row("GET", r"/gradio_api/(?:openapi\.json|theme\.css|startup-events|upload_progress|queue/data|queue/status)"),
    _row("GET", rf"/gradio_api/(?:heartbeat/{_NAME}|call/(?:v2/)?{_NAME}/{_NAME})"),
    _row("POST", r"/gradio_api/(?:cancel|reset/?)"),
    _row("POST", rf"/gradio_api/(?:queue/join|(?:run|api|call|call/v2)/{_NAME}/?)", "json"),
    _row("POST", r"/gradio_api/upload", "files"),
)


def route_of(method: str, path: str) -> Route | None:
    """The row for a request, or None where there is nothing. HEAD asks as GET does."""
    wanted = "GET" if method == "HEAD" else method
    return next((row for row in ROUTES if row.method == wanted and row.path.fullmatch(path)), None)
