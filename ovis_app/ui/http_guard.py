"""What a client may not do past the page: a middleware between the network and Gradio. In this order: who asks and
under which name, whether they signed in, what there is to ask, how files are sent back, how much may be sent, headers
that browsers must hear.

Knows HTTP. Knows nothing of conversations and components. Passes streams through as they
come, and an event once all of it is there.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import anyio
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from ovis_app.accounts import accounts
from ovis_app.errors import UNEXPECTED
from ovis_app.limits import MEGABYTE, Limits
from ovis_app.media.data_uri import FILE_ROUTE
from ovis_app.media.file_store import FileStore, session_holder
from ovis_app.outcomes import Outcome, Tell, nobody
from ovis_app.request_id import RequestId, reported
from ovis_app.settings import Settings
from ovis_app.ui import http_addresses, http_crowd, http_files
from ovis_app.ui.http_answers import FRAMES, PAGE_POLICY, PLAIN, Told, path_of, refusal, tool_refusal
from ovis_app.ui.http_arrival import Arrival, Left, arriving
from ovis_app.ui.http_bodies import Counted, Json, Meter, Refused, check_length
from ovis_app.ui.http_coming import Coming
from ovis_app.ui.http_events import Event, Events, parsed
from ovis_app.ui.http_hosts import Hosts, believe_no_proxy, here, reaches, visitors
from ovis_app.ui.http_line import who_asks
from ovis_app.ui.http_named_files import check_files, files_of
from ovis_app.ui.http_passage import App
from ovis_app.ui.http_routes import (
    API,
    CALLS,
    HEARTBEAT,
    INFO,
    JSON,
    MCP,
    METRICS,
    ROUTES,
    SMALL,
    TOOLS,
    Route,
    route_of,
)
from ovis_app.ui.http_short import ShortRequests, session_of
from ovis_app.ui.http_sign_in import SignIn
from ovis_app.ui.http_uploads import Files, Uploads

log = logging.getLogger(__name__)

OPEN = (
    "The page listens on %s and nobody has to sign in: whoever reaches this machine can use it. Set --auth-file to ask "
    "who they are, or listen on 127.0.0.1 to keep it to yourself."
)
SHARED = (
    "The page gets a public link and nobody has to sign in: whoever has the link can use it. Set --auth-file to ask "
    "who they are."
)
TWO_LENGTHS = "A request says its length in one way: send Content-Length or Transfer-Encoding."
COMPRESSED = "Nothing that is compressed is read here: send it as it is, without Content-Encoding."
NOTHING_THERE = "Nothing answers here: POST /v1/chat/completions and /tokenize do, and GET /v1/models."
NO_API = "There is no API here: who runs this page has set no key for it."
FROM_HERE = "That is read from this machine alone, or with --metrics everyone by whoever asks without a proxy between."
AT_ONCE = re.compile(r"/gradio_api/(?:run|api)/")  # what is answered by the request itself
LARGE = 256 * 1024  # bytes of JSON that take a moment to parse
LONGEST_QUERY = 8 * 1024  # bytes
HELD = 64 * MEGABYTE  # of events that are still coming
API_BODIES = 3  # of the largest size that may still be coming to /v1: fewer than it holds of one client at a time


def middleware(
    settings: Settings, limits: Limits, store: FileStore, folder: Path, *, tell: Tell = nobody
) -> Middleware:
    """The guard as Gradio takes it. The page shows the files of the store, and the app's own that lie in `folder`;
    `tell` hears of uploads that are refused. Raises UserError where it can't be read who may sign in."""
    http_addresses.install()
    believe_no_proxy()
    if settings.open_to_all:
        if settings.share:
            log.warning(SHARED)
        else:
            log.warning(OPEN, settings.server_name)
    frames = f"'self' {FRAMES}" if settings.space else "'self'"
    people = accounts(settings.auth, settings.auth_file)
    sign_in = SignIn(people, settings, frames=frames) if people else None
    policy = f"{PAGE_POLICY}; frame-ancestors {frames}"
    return Middleware(
        Guard,
        hosts=Hosts.of(settings),
        sign_in=sign_in,
        limits=limits,
        store=store,
        folder=folder,
        policy=policy,
        routes=(*ROUTES, *(MCP if settings.mcp else ()), *METRICS[settings.metrics]),
        api_bytes=settings.api_bytes if settings.serves_api else None,
        keyed=bool(settings.api_key),
        visitor=visitors(settings),
        tell=tell,
    )


class Guard:
    """Between the network and Gradio."""

    def __init__(
        self,
        app: App,
        *,
        hosts: Hosts,
        sign_in: SignIn | None,
        limits: Limits,
        store: FileStore,
        folder: Path,
        policy: str,
        routes: Sequence[Route],
        api_bytes: int | None,
        keyed: bool,
        visitor: Callable[[HTTPConnection], str],
        tell: Tell,
    ) -> None:
        """`api_bytes` may be sent to /v1 at once; without, it isn't there. Where it is `keyed` its keys are asked for
        instead of a sign-in. `visitor` tells people apart by where they are, where that is known."""
        self.app, self.hosts, self.sign_in, self.limits, self.tell = app, hosts, sign_in, limits, tell
        self.store, self.folder, self.uploads = store, folder, Uploads(store)
        self.routes, self.api_bytes, self.keyed, self.visitor = routes, api_bytes, keyed, visitor
        self.may_name = files_of(store, folder)
        self.events: Events | None = None  # once the page is there
        self.crowd, self.parsers = http_crowd.events(), anyio.CapacityLimiter(2)
        self.open = {"tab": http_crowd.tabs(), "stream": http_crowd.streams()}
        self.headers = {**PLAIN, "content-security-policy": policy}
        self.short = ShortRequests(app, self.headers)
        self.coming, self.api = Coming(most=HELD), Coming(most=API_BODIES * (api_bytes or 0))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            request_id = scope.setdefault("state", {})["request_id"] = RequestId.made()
            told, began = Told(send, request_id), time.monotonic()
            try:
                await self._answer(scope, receive, told)
            except Left:  # nobody is there to be told
                pass
            except Refused as error:
                await refusal(error, scope)(scope, receive, told)
            except asyncio.CancelledError:  # the server ends, and cuts off what takes longer
                await told.end(scope, receive)
            except Exception:  # the edge of a request
                if told.status:  # what was said stays cut off
                    raise
                log.exception("a request failed (request %s)", request_id)
                await refusal(Refused(500, reported(UNEXPECTED, request_id)), scope)(scope, receive, told)
            finally:
                if told.status >= 400:
                    figures = {"status": told.status, "seconds": round(time.monotonic() - began, 3)}
                    log.info("a request was refused (request %s)", request_id, extra={"told": figures})
        elif scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Refused for what is refused before Gradio hears of it."""
        if scope.get("http_version") == "1.0":  # of no browser, but of nginx, which adds no header by itself
            scope["headers"] = [*scope["headers"], (b"via", b"1.0")]
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:  # a proxy may go by the other one
            raise Refused(400, TWO_LENGTHS, {"connection": "close"})
        if headers.get("content-encoding", "identity").lower() != "identity":  # nothing here unpacks what people send
            raise Refused(415, COMPRESSED)
        self.hosts.check(scope["method"], headers)
        scope["state"]["visitor"] = self.visitor(HTTPConnection(scope))
        path, raw = path_of(scope)
        # One spelling for everything: none of these paths needs another.
        route = route_of(scope["method"], path, self.routes) if raw == path.encode() else None
        by_key = self.keyed and path.startswith(API)
        if self.sign_in is not None and not by_key and (route is None or route.who == "people"):
            answer = await self.sign_in.answer(scope, receive, path)
            if answer is not None:
                await answer(scope, receive, send)
                return
        if path.startswith(FILE_ROUTE) and raw.startswith(FILE_ROUTE.encode()) and scope["method"] in ("GET", "HEAD"):
            file = path.removeprefix(FILE_ROUTE)
            look = partial(http_files.answer, file, self.store, self.folder, scope["state"]["visitor"])
            await self.short.file(scope, receive, send, look)
            return
        if route is None:
            asked = path.startswith(API) and self._has_api(scope, headers)
            raise Refused(404, NOTHING_THERE if asked else "Not found")
        if route.refused:
            raise Refused(route.refused, "Not allowed")
        peer = str((scope.get("client") or ("",))[0])
        if not reaches(route.reach, peer, headers):
            raise Refused(403, FROM_HERE)
        if route.body == "api" and not self._has_api(scope, headers):
            raise Refused(404, NO_API)
        if len(scope.get("query_string", b"")) > LONGEST_QUERY:
            raise Refused(414, "That address is too long.")
        if route.body == "files":
            try:
                await self._upload(scope, receive, send, headers)
            except Refused as error:
                if not isinstance(error, Left):
                    self.tell(Outcome("upload", request=scope["state"]["request_id"]))
                raise
            return
        meter = self._meter(route)
        check_length(headers.get("content-length", "0"), meter)
        if path.rstrip("/") == INFO:  # of one page it isn't kept; else all are shown the host that the first one named
            scope["query_string"] = scope.get("query_string", b"") + b"&page="
        crowd, visitor = self.open.get(route.stays), scope["state"]["visitor"]
        one_more = crowd.one_more(session_of(scope, path), visitor) if crowd else nullcontext()
        coming = self.api if route.body == "api" else self.coming
        with one_more, self._session(path), arriving(receive, meter, coming, who_asks(scope, "")) as arrival:
            if scope["method"] == "POST" and CALLS.match(path):
                await self._event(scope, arrival, send, path)
            elif scope["method"] == "POST" and path.startswith(TOOLS):
                await self._tool(scope, arrival, send)
            else:
                await self.short.answer(scope, arrival, send, route, path)

    @contextmanager
    def _session(self, path: str) -> Iterator[None]:
        """A tab keeps a request open as long as it is there: its files stay while the block runs."""
        holder = session_holder(path.removeprefix(HEARTBEAT)) if path.startswith(HEARTBEAT) else ""
        if holder:
            self.store.arrive(holder)
        try:
            yield
        finally:
            if holder:
                self.store.leave(holder)

    def _has_api(self, scope: Scope, headers: Headers) -> bool:
        """Whether /v1 is there for whoever asks. Where neither a key nor a sign-in is asked for that is this machine
        alone: a proxy on it brings strangers, although nothing else listens."""
        peer = str((scope.get("client") or ("",))[0])
        return self.api_bytes is not None and (self.keyed or self.sign_in is not None or here(peer, headers))

    async def _upload(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        who, kind = who_asks(scope, ""), headers.get("content-type", "").encode("latin-1")
        files = Files(kind, self.limits, self.store, scope["state"]["visitor"])
        check_length(headers.get("content-length", "0"), files)
        with arriving(receive, Counted(files.most), self.uploads.coming, who) as arrival:
            response = await self.uploads.receive(files, arrival)
        response.headers.update(self.headers)
        await response(scope, receive, send)

    def _meter(self, route: Route) -> Meter:
        if route.body == "api":
            return Json(self.api_bytes or SMALL)
        return Json(JSON) if route.body == "json" else Counted(SMALL)

    async def _event(self, scope: Scope, arrival: Arrival, send: Send, path: str) -> None:
        """An event is looked at as a whole before Gradio hears of it."""
        body = await arrival.whole()
        session, whole = await self._checked(scope, path, body)
        arrival.say(whole)
        visitor = scope["state"]["visitor"]
        with self.crowd.one_more(session, visitor) if AT_ONCE.match(path) else nullcontext():
            await self.short.in_turn(scope, arrival, send, session, event=True)

    async def _tool(self, scope: Scope, arrival: Arrival, send: Send) -> None:
        """A message of an agent. A tool's call that names a file is an event, whose sentence the agent is to read."""
        call = parsed(await arrival.whole())
        try:
            check_files(call, self.may_name, "")
        except Refused as error:
            await tool_refusal(error, call)(scope, arrival.next, send)
            return
        await self.short.in_turn(scope, arrival, send, "", event=False)

    async def _checked(self, scope: Scope, path: str, body: bytes) -> Event:
        if self.events is None and hasattr(scope.get("app"), "get_blocks"):
            blocks = scope["app"].get_blocks()
            self.events = Events(blocks.get_config_file(), blocks.get_api_info(), may_name=self.may_name)
        if self.events is None:  # of a page without events
            return Event("", body)
        work = partial(self.events.check, path, body)
        return await anyio.to_thread.run_sync(work, limiter=self.parsers) if len(body) > LARGE else work()
