"""A body on its way in: counted, not too slow, and either whole or refused.

Knows a clock and what a server says of a connection. Refuses to know what the body is for.
"""

from __future__ import annotations

import time

import anyio
from starlette.types import Message, Receive

from ovis_app.ui.http_bodies import Meter, Refused

PATIENCE = 60.0  # seconds that a body may take to arrive, and one more for each SLOWEST bytes of it
SLOWEST = 4 * 1024
TOO_SLOW = "That arrives too slowly: send it again over a faster connection."
CUT_OFF = "The sender left before all of it was there."


class Left(Refused):
    """Whoever was sending is gone: nobody is there to be told."""


class Arrival:
    """What is received of one request."""

    def __init__(self, receive: Receive, meter: Meter) -> None:
        self._receive, self._meter = receive, meter
        self._deadline = time.monotonic() + PATIENCE
        self._whole = False
        self._again: Message | None = None

    async def next(self) -> Message:
        """The next message. Raises Refused once no more is wanted. Behind the body it waits for the sender to leave, as
        long as that takes."""
        if self._again is not None:
            again, self._again = self._again, None
            return again
        if self._whole:
            return await self._receive()
        try:
            with anyio.fail_after(max(self._deadline - time.monotonic(), 0)):
                message = await self._receive()
        except TimeoutError as error:
            raise Refused(408, TOO_SLOW) from error
        if message["type"] == "http.disconnect":
            raise Left(400, CUT_OFF)
        body = message.get("body", b"")
        self._meter.take(body)
        self._deadline += len(body) / SLOWEST
        self._whole = not message.get("more_body", False)
        return message

    async def whole(self) -> bytes:
        """All of the body; `next` gives it again. Raises Refused."""
        body = bytearray()
        while not self._whole:
            body += (await self.next()).get("body", b"")
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
