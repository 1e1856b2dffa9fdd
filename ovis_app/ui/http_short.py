"""A short request's way to Gradio and back: what was said before is said again, the rest waits for its turn.

Knows which answers are kept and what a stream and an upload are: they hold no place in the line. Refuses to know what
a route does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ovis_app.ui.http_arrival import Arrival
from ovis_app.ui.http_kept import Asked, Copied, Kept, asked_by, only
from ovis_app.ui.http_line import Line, who_asks
from ovis_app.ui.http_passage import App, Passage
from ovis_app.ui.http_routes import HEARTBEAT, SMALL, Route


class ShortRequests:
    """Hands on to `app` what comes, and gives each answer these headers."""

    def __init__(self, app: App, headers: Mapping[str, str]) -> None:
        self._app, self._headers = app, headers
        self._line, self._kept = Line(), Kept()
        self._quick = Line()  # for what is kept: few at a time, or else the event loop is theirs

    async def answer(self, scope: Scope, arrival: Arrival, send: Send, route: Route, path: str) -> None:
        """Any request but an event. Raises Refused."""
        asked = _asked(scope, self._kept) if route.kept else None
        kept = self._kept.get(asked)
        if kept is not None:
            async with self._quick.place(who_asks(scope, "")) as place:
                await kept.send(place.until_answered(send))
        elif not route.in_line or (route.body == "api" and not _is_short(scope)):  # the latter has pictures: an upload
            await Passage(scope, arrival, send, self._headers, event=False).through(self._app)
        else:
            await arrival.whole()
            await self.in_turn(scope, arrival, send, session_of(scope, path), event=route.body == "small", asked=asked)

    async def in_turn(
        self, scope: Scope, arrival: Arrival, send: Send, session: str, *, event: bool, asked: Asked | None = None
    ) -> None:
        """A request all of which is there. Raises Refused."""
        async with self._line.place(who_asks(scope, session)) as place:
            if place.waited and await arrival.left():
                return
            kept = self._kept.get(asked)  # somebody else's, who asked at the same time
            if kept is not None:
                await kept.send(send)
                return
            send = place.until_answered(send)
            if asked is not None:
                scope, send = only(asked, scope), Copied(send, asked, self._kept)
            await Passage(scope, arrival, send, self._headers, event=event).through(self._app)

    async def file(self, scope: Scope, receive: Receive, send: Send, look: Callable[[], Awaitable[Response]]) -> None:
        """A file that is looked for, and sent back."""
        async with self._line.place(who_asks(scope, "")) as place:
            response = await look()
            await response(scope, receive, place.until_answered(send))


def _asked(scope: Scope, kept: Kept) -> Asked | None:
    """What the answer depends on; None where there is no page."""
    if not hasattr(scope.get("app"), "get_blocks"):
        return None
    page = scope["app"].get_blocks()
    kept.of(page.config, page.share)
    return asked_by(scope)


def _is_short(scope: Scope) -> bool:
    length = Headers(scope=scope).get("content-length", "0" if scope["method"] == "GET" else "")
    return length.isdigit() and int(length) <= SMALL


def session_of(scope: Scope, path: str) -> str:
    """The session that a request names in its address; nothing where it names none."""
    if path.startswith(HEARTBEAT):
        return path.removeprefix(HEARTBEAT)
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("session_hash", [""])[0]
