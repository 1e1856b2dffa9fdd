"""How the guard itself answers: a refusal as whoever asks reads it, the proper end of an answer that is cut off, what
browsers are told with each. Knows HTTP; refuses to know why.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from ovis_app.errors import api_error
from ovis_app.request_id import RequestId
from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_routes import API, CALLS

REQUEST_ID = b"x-request-id"  # a header
STREAMED = b"text/event-stream"
# What many clients' lines end at besides what ends the lines of a stream of events, as it may stand in JSON.
LINE_ENDS = {b"\xc2\x85": b"\\u0085", b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029"}
ENDING = "The app is being ended: try again once it is back."
# With no-referrer, browsers would send the form that signs out without an Origin that can be checked.
PLAIN = {"x-content-type-options": "nosniff", "referrer-policy": "same-origin"}
FRAMES = "https://huggingface.co https://*.hf.space"  # who may show a Space's page in a frame
# Scripts come from here alone. Gradio writes some into the page and evaluates its templates; what would run a model's
# words, the attributes of an element, runs nothing. Pictures in them call no other hosts, forms send nothing there.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; script-src-attr 'none'; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self'; worker-src 'self' blob:; frame-src 'none'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)


class Told:
    """What is sent to one client, so that it can be ended properly."""

    def __init__(self, send: Send, request_id: RequestId) -> None:
        """`request_id` is what the request is called, which each answer says."""
        self._send, self._request_id = send, request_id
        self._began = self._whole = self._streams = False
        self.status = 0  # once it began

    async def __call__(self, message: Message) -> None:
        self._began = True
        if message["type"] == "http.response.start":
            others = [one for one in message.get("headers", ()) if one[0].lower() != REQUEST_ID]
            message["headers"] = [*others, (REQUEST_ID, self._request_id.encode())]
            self.status = message["status"]
            self._streams = any(one[0] == b"content-type" and one[1].startswith(STREAMED) for one in others)
        elif self._streams and message.get("body"):
            message["body"] = one_line_each(message["body"])
        self._whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def end(self, scope: Scope, receive: Receive) -> None:
        """Ends an answer that is cut off; where none had begun, says why."""
        with suppress(Exception):  # of fewer bytes than were announced, or a client that has left
            if not self._began:
                await refusal(Refused(503, ENDING), scope)(scope, receive, self)
            elif not self._whole:
                await self._send({"type": "http.response.body", "body": b""})


def one_line_each(events: bytes) -> bytes:
    """Events of JSON that are cut into the same lines whatever a client takes for a line's end."""
    for end, written in LINE_ENDS.items():
        events = events.replace(end, written)
    return events


def refusal(error: Refused, scope: Scope) -> Response:
    """A refusal, as whoever asks reads it."""
    headers = {**PLAIN, **error.headers}
    if path_of(scope)[0].startswith(API):
        return JSONResponse(api_error(str(error), error.status), error.status, headers)
    if CALLS.match(path_of(scope)[0]):
        return JSONResponse({"error": str(error)}, error.status, headers)
    return PlainTextResponse(str(error), error.status, headers)


def tool_refusal(error: Refused, call: Mapping[str, Any]) -> Response:
    """A refusal as the answer to a tool's call, which agents read; their clients read nothing of other statuses."""
    said = {"content": [{"type": "text", "text": str(error)}], "isError": True}
    return JSONResponse({"jsonrpc": "2.0", "id": call.get("id"), "result": said}, 200, {**PLAIN, **error.headers})


def path_of(scope: Scope) -> tuple[str, bytes]:
    """The decoded path behind the app's prefix, and how it was spelled."""
    path, raw = scope["path"], scope.get("raw_path") or scope["path"].encode()
    prefix = scope.get("root_path", "").rstrip("/")
    if prefix and path.startswith(f"{prefix}/") and raw.startswith(f"{prefix}/".encode()):
        return path[len(prefix) :], raw[len(prefix.encode()) :]
    return path, raw
