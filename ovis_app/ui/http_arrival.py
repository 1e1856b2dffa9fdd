"""A body on its way in: counted, not too slow, and either whole or refused.

Knows a clock and what a server says of a connection. Refuses to know what the body is for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.types import Message, Receive

from ovis_app.ui.http_bodies import Meter, Refused
from ovis_app.ui.http_coming import Body, Coming
from ovis_app.ui.http_line import Who

PATIENCE = 60.0  # seconds of silence, and of less than SLOWEST bytes a second
SLOWEST = 4 * 1024
TOO_SLOW = "That arrives too slowly: send it again over a faster connection."
CUT_OFF = "The sender left before all of it was there."


class Left(Refused):
    """Whoever was sending is gone: nobody is there to be told."""


@contextmanager
def arriving(receive: Receive, meter: Meter, coming: Coming, who: Who) -> Iterator[Arrival]:
    """The body of one request, among those that are coming, while the block runs and it isn't handed on."""
    arrival = Arrival(receive, meter, coming, who)
    try:
        yield arrival
    finally:
        arrival.handed_on()


class Arrival:
    """What is received of one request."""

    def __init__(self, receive: Receive, meter: Meter, coming: Coming, who: Who) -> None:
        self._receive, self._meter, self._coming = receive, meter, coming
        self._body = Body(who, self._give_up)
        self._deadline = time.monotonic() + PATIENCE
        self._waiting: anyio.CancelScope | None = None
        self._given_up = False
        self._again: Message | None = None

    async def next(self) -> Message:
        """The next message. Raises Refused once no more is wanted. Behind the body it waits for the sender to leave, as
        long as that takes."""
        if self._again is not None:
            again, self._again = self._again, None
            self.handed_on()
            return again
        if self._body.whole:
            return await self._receive()
        message = await self._more()
        if self._body.whole:
            self.handed_on()
        return message

    async def _more(self) -> Message:
        message = await self._heard()
        if message["type"] == "http.disconnect":
            raise Left(400, CUT_OFF)
        body = message.get("body", b"")
        self._meter.take(body)
        self._coming.grew(self._body, len(body))
        self._deadline = min(self._deadline + len(body) / SLOWEST, time.monotonic() + PATIENCE)
        self._body.whole = not message.get("more_body", False)
        return message

    async def _heard(self) -> Message:
        """What comes. Most bodies come with their head and take no place. Raises Refused."""
        if not self._given_up and not self._coming.has(self._body):
            with anyio.move_on_after(0):
                return await self._receive()
            self._coming.join(self._body)
        with anyio.move_on_after(max(self._deadline - time.monotonic(), 0)) as self._waiting:
            if not self._given_up:
                return await self._receive()
        raise Refused(408, TOO_SLOW, {"connection": "close"})

    def _give_up(self) -> None:
        self._given_up = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def whole(self) -> bytes:
        """All of the body; `next` gives it again. Raises Refused."""
        body = bytearray()
        while not self._body.whole:
            body += (await self._more()).get("body", b"")
        self.say(data := bytes(body))
        return data

    async def left(self) -> bool:
        """Whether the sender is gone, asked once the body is whole."""
        with anyio.move_on_after(0):
            return bool((await self._receive())["type"] == "http.disconnect")
        return False

    def say(self, body: bytes) -> None:
        """What `next` gives in place of a body that is all there."""
        self._again = {"type": "http.request", "body": body, "more_body": False}

    def handed_on(self) -> None:
        """It is somebody else's now, and none of those that are coming."""
        self._coming.leave(self._body)
