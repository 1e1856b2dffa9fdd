"""What may be asked over HTTP: the routes of Gradio that the page and programs use, a row each. All else isn't there.

Knows paths, methods and how large a body may be. Knows nothing of what the routes do.

Gradio serves more than this page needs: proxies, recordings that are handed to FFmpeg, links that keep a session's
components, an older spelling of the file route. A list of what is needed stays right when Gradio adds to that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ovis_app.ui.http_hosts import Reach

INFO = "/gradio_api/info"
HEARTBEAT = "/gradio_api/heartbeat/"  # what a tab keeps open as long as it is there
SMALL = 64 * 1024  # bytes of a body that hardly says anything
JSON = 4 * 1024 * 1024  # bytes of an event's inputs; parsed at once, with everybody waiting

API = ("/v1/", "/tokenize")  # what these begin is asked by programs, which read errors as JSON
CALLS = re.compile(r"/gradio_api/(?:queue/join|run/|api/|call/)")  # events, whose errors Gradio's clients read as JSON
TOOLS = "/gradio_api/mcp"  # where agents call them

Body = Literal["small", "json", "files", "api"]
Who = Literal["people", "anybody"]


@dataclass(frozen=True)
class Route:
    """One kind of request. `path` is matched against the whole decoded path, behind any prefix of the app."""

    method: str
    path: re.Pattern[str]
    body: Body = "small"
    refused: int = 0  # the status that says so, where there is nothing
    who: Who = "people"  # who may ask where people sign in: those who did, or anybody
    kept: bool = False  # whether the answer is the same for all who ask by the same address
    stays: Literal["", "tab", "stream"] = ""  # what of a tab the answer is, where it may go on without end
    reach: Reach = "all"  # from where it may be asked
    in_line: bool = True  # whether it waits for its turn; who is told to wait when asking after health restarts all


_NAME = r"[A-Za-z0-9_.-]{1,200}"
_MODEL = r"(?:[A-Za-z0-9_.-]{1,100}/)?[A-Za-z0-9_.@-]{1,200}"
_STATIC = r"(?:[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,200}/){0,8}[A-Za-z0-9_@-][A-Za-z0-9_.@-]{0,200}"


ROUTES: tuple[Route, ...] = (
    Route("GET", re.compile(r"/|/config/?|/theme\.css"), kept=True),
    Route("GET", re.compile(r"/robots\.txt|/favicon\.ico")),
    Route("GET", re.compile(r"/healthz|/readyz"), who="anybody", in_line=False),
    Route("GET", re.compile(rf"/(?:assets|static|svelte)/{_STATIC}"), kept=True),
    Route("GET", re.compile(rf"/page/[0-9a-f]{{12}}/{_STATIC}"), kept=True),  # the page's own
    Route("GET", re.compile(r"/gradio_api/info/?"), kept=True),
    Route("GET", re.compile(r"/gradio_api/(?:user|login_check|app_id|token)/?")),
    Route(
        "GET",
        re.compile(r"/gradio_api/(?:openapi\.json|theme\.css|queue/status)"),
    ),
    # Gradio asks for it itself, once, when it launches; whoever asks after that is told no.
    Route("GET", re.compile(r"/gradio_api/startup-events"), who="anybody"),
    Route("GET", re.compile(rf"/gradio_api/heartbeat/{_NAME}"), stays="tab"),
    Route("GET", re.compile(rf"/gradio_api/(?:queue/data|call/(?:v2/)?{_NAME}/{_NAME})"), stays="stream"),
    Route("POST", re.compile(r"/gradio_api/(?:cancel|reset/?)")),
    Route("POST", re.compile(rf"/gradio_api/(?:queue/join|(?:run|api|call|call/v2)/{_NAME}/?)"), "json"),
    Route("POST", re.compile(r"/gradio_api/upload"), "files"),
    Route("POST", re.compile(r"/from-address")),  # the page's own, for what it doesn't upload
    Route("GET", re.compile(rf"/v1/models(?:/{_MODEL})?"), "api"),
    Route("POST", re.compile(r"/v1/chat/completions|/tokenize"), "api"),
)


# Of a server for agents, what a call needs. Each stands alone: its protocol says by 405 that there is no other stream.
MCP: tuple[Route, ...] = (
    Route("POST", re.compile(r"/gradio_api/mcp/?"), "json"),
    Route("GET", re.compile(r"/gradio_api/mcp/?"), refused=405),
    Route("GET", re.compile(r"/gradio_api/mcp/schema")),
)


# Figures, by who may read them. From this machine nobody signs in for them.
METRICS: dict[str, tuple[Route, ...]] = {
    "off": (),
    "here": (Route("GET", re.compile(r"/metrics"), who="anybody", reach="here", in_line=False),),
    "everyone": (Route("GET", re.compile(r"/metrics"), reach="direct"),),
}


def route_of(method: str, path: str, rows: Sequence[Route] = ROUTES) -> Route | None:
    """The row for a request, or None where there is nothing. HEAD asks as GET does."""
    wanted = "GET" if method == "HEAD" else method
    return next((row for row in rows if row.method == wanted and row.path.fullmatch(path)), None)
