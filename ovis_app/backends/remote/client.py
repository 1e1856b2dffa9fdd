"""A client of the openai SDK for one server, which sends what we mean to send and believes no more than it can hold.

No redirect is followed, so a key goes to the server that it was given for. Nothing of the SDK's own variables
(OPENAI_ORG_ID, OPENAI_CUSTOM_HEADERS) is sent, nor what it tells of this machine. Refuses to know chat and models.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
from openai import AsyncOpenAI

from ovis_app.backends.remote.server import Server
from ovis_app.errors import BackendError

SENT = {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"}
SENT |= {"transfer-encoding", "user-agent", "x-session-id"}
MOST_LINE = 4 * 1024 * 1024  # bytes between two line breaks of an answer
MOST_BYTES = 128 * 1024 * 1024  # of a whole answer: a chunk a token, and each some hundred bytes


@dataclass(frozen=True)
class Patience:
    """How long a server may take, in seconds."""

    connect: float = 10.0
    send: float = 60.0  # without a byte being taken of what is sent
    first: float = 300.0  # until the first token: a busy server prefills, or has us wait
    silence: float = 60.0  # between two tokens
    listing: float = 10.0  # for the list of models
    count: float = 60.0  # for a count of tokens
    fresh: float = 15.0  # for which a list of models is believed
    down: float = 3.0  # after which a server that is down is asked again
    pauses: tuple[float, ...] = (0.5, 2.0)  # before another attempt


def client(server: Server, patience: Patience) -> AsyncOpenAI:
    """A client whose requests are made once each: who asks decides about another attempt."""

    async def only_ours(request: httpx2.Request) -> None:
        for name in set(request.headers) - SENT:
            del request.headers[name]
        request.headers["user-agent"] = "ovis-app"
        request.headers["accept-encoding"] = "identity"  # what is small packed may be large unpacked
        request.headers.pop("authorization", None)
        if server.key:
            request.headers["authorization"] = f"Bearer {server.key}"

    async def bounded(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise BackendError(f"{server.name} packs its answers, which nobody asked for: see what stands before it.")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = Bounded(response.stream, server.name)

    timeout = httpx2.Timeout(None, connect=patience.connect, write=patience.send)
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [only_ours], "response": [bounded]}
    http = httpx2.AsyncClient(timeout=timeout, follow_redirects=False, event_hooks=hooks)
    # An empty key would be looked for in OPENAI_API_KEY.
    return AsyncOpenAI(api_key=server.key or "none", base_url=server.url, http_client=http, max_retries=0)


class Bounded(httpx2.AsyncByteStream):
    """A body that raises BackendError where it is longer, or a line of it, than any answer."""

    def __init__(self, stream: httpx2.AsyncByteStream, name: str) -> None:
        self.stream, self.name = stream, name

    async def __aiter__(self) -> AsyncIterator[bytes]:
        line = total = 0
        async for part in self.stream:
            total += len(part)
            *ended, rest = part.split(b"\n")
            line = max(line + len(ended[0]), *map(len, ended)) if ended else line + len(rest)
            if line > MOST_LINE or total > MOST_BYTES:
                raise BackendError(
                    f"{self.name} sent more at once than an answer can be, so it was stopped: ask again, or another "
                    "server."
                )
            line = len(rest) if ended else line
            yield part

    async def aclose(self) -> None:
        await self.stream.aclose()
