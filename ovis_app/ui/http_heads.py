"""The head of a request on its way in: at most 64 kB, and there within half a minute. It comes before the guard, which
hears of a request once its head is whole.

Knows uvicorn's protocol for HTTP/1.1 as h11 reads it, also where a faster one is installed that limits nothing. Refuses
to know what is asked.
"""

from __future__ import annotations

import asyncio

from ovis_app.ui.http_unsent import Unsent

PATIENCE = 30.0  # seconds from a connection, or from an answer's end and what came behind it, to a whole head


class Heads(Unsent):
    """A connection, closed where a head doesn't come; where it is silent behind an answer uvicorn closes it."""

    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    @property
    def asked(self) -> bool:
        """Whether there is a request that isn't answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        if self.asked:
            self._rest()
        elif self.waiting is None:
            self.waiting = self.loop.call_later(PATIENCE, self._give_up)

    def _rest(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _give_up(self) -> None:
        if not self.asked and not self.transport.is_closing():
            self.transport.close()
