"""What is sent to somebody who doesn't take it: a connection is closed where next to nothing of it goes out for a
minute. Else a reader who is there and reads nothing would keep a connection, and the file that is sent, for good.

Knows uvicorn's protocol for HTTP/1.1 as h11 reads it. Refuses to know what is sent.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 60.0  # seconds from one look to the next
LEAST = 32 * 1024  # bytes that go out meanwhile where so much waits


class Unsent(H11Protocol):
    """A connection that is looked at now and then. Where too much waited at two looks, or no more than what waited kept
    it from being closed, and hardly less the second time, it is cut off."""

    looking: asyncio.TimerHandle | None = None
    full = False  # too much waits to be sent
    waited = 0  # bytes at the last look, 0 where it wasn't too much, or isn't since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest_from_looking()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.full = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.full, self.waited = False, 0

    def _rest_from_looking(self) -> None:
        if self.looking is not None:
            self.looking.cancel()

    def _look_again(self) -> None:
        self.looking = self.loop.call_later(PATIENCE, self.look)

    def look(self) -> None:
        """Cuts it off where next to nothing went out since the last look."""
        self._rest_from_looking()
        held = self.full or self.transport.is_closing()
        waits = self.transport.get_write_buffer_size() if held else 0
        if waits and self.waited and self.waited - waits < LEAST:
            self.transport.abort()
            return
        self.waited = waits
        self._look_again()
