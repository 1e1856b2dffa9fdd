"""Answers that are the same for whoever asks in the same words: the page, its files. Kept, so that asking again costs
next to nothing.

Knows HTTP, and which parts of a request an answer may depend on: what is named in `Asked`. An answer that is kept was
made for a request that had nothing else, so nobody's host, cookie or name is in another's page. Refuses to know what
is in it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send

from ovis_app.limits import MEGABYTE

MOST = 64 * MEGABYTE  # of all answers
LARGEST = 4 * MEGABYTE  # of one
AROUND = 4 * 1024  # bytes that one takes beside its body
LONGEST = 512  # characters of what one is asked by
# The headers that an answer may depend on. Gradio writes the address that it is asked by into its page, and takes it
# from these.
HEADERS = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")


class Asked(NamedTuple):
    """All that an answer depends on."""

    method: str
    scheme: str
    root: str
    path: bytes
    query: bytes
    zipped: bool  # whether it may be compressed
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Answer:
    """What was said once, and is said again."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": self.body})


class Kept:
    """Answers by what they were asked by; those that were asked for longest ago go first."""

    def __init__(self) -> None:
        self._bytes = 0
        self._answers: OrderedDict[Asked, Answer] = OrderedDict()
        self._of: tuple[Any, ...] = ()

    def of(self, *what: Any) -> None:
        """They are of these things: where others come in their place all is forgotten."""
        if len(what) != len(self._of) or any(new is not old for new, old in zip(what, self._of, strict=True)):
            self._answers.clear()
            self._of, self._bytes = what, 0

    def get(self, asked: Asked | None) -> Answer | None:
        """The answer, where there is one."""
        if asked is None or asked not in self._answers:
            return None
        self._answers.move_to_end(asked)
        return self._answers[asked]

    def put(self, asked: Asked, answer: Answer) -> None:
        if asked in self._answers:  # two asked at once
            return
        self._answers[asked] = answer
        self._bytes += len(answer.body) + AROUND
        while self._bytes > MOST:
            _, oldest = self._answers.popitem(last=False)
            self._bytes -= len(oldest.body) + AROUND


class Copied:
    """Sends an answer on, and keeps a copy of one that is whole and may be kept."""

    def __init__(self, send: Send, asked: Asked, kept: Kept) -> None:
        self._send, self._asked, self._kept = send, asked, kept
        self._headers: dict[bytes, bytes] | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = {name.lower(): value for name, value in message.get("headers", ())}
            self._headers = headers if message["status"] == 200 and b"set-cookie" not in headers else None
        elif self._headers is not None:
            self._body += message.get("body", b"")
            if len(self._body) > LARGEST:
                self._headers = None
            elif not message.get("more_body", False):
                self._keep(self._headers, bytes(self._body))
        await self._send(message)

    def _keep(self, headers: dict[bytes, bytes], body: bytes) -> None:
        if headers.get(b"content-length") in (None, str(len(body)).encode()):
            headers[b"content-length"] = str(len(body)).encode()
            self._kept.put(self._asked, Answer(tuple(headers.items()), body))


def asked_by(scope: Scope) -> Asked | None:
    """What the answer to a request depends on; None where that is too much to keep it."""
    headers = Headers(scope=scope)
    if "range" in headers:
        return None
    named = tuple((name.encode(), value.encode("latin-1")) for name in HEADERS for value in headers.getlist(name))
    asked = Asked(
        scope["method"], scope.get("scheme", "http"), scope.get("root_path", ""),
        scope.get("raw_path") or scope["path"].encode(), scope.get("query_string", b""),
        takes_gzip(headers.get("accept-encoding", "")), named,
    )  # fmt: skip
    said = sum(len(value) for _, value in named) + len(asked.path) + len(asked.query)
    return asked if said <= LONGEST else None


def only(asked: Asked, scope: Scope) -> Scope:
    """The request without anything that the answer may not depend on."""
    accepted = b"gzip" if asked.zipped else b"identity"
    return {**scope, "headers": [*asked.headers, (b"accept-encoding", accepted)]}


def takes_gzip(accepted: str) -> bool:
    offered = [one.strip().lower().partition(";") for one in accepted.split(",")]
    return any(name.strip() == "gzip" and weight.strip().rstrip("0.") != "q=" for name, _, weight in offered)
