"""The head of a request on its way in: at most 64 kB, and there within half a minute, or sooner where very many are
silent. It comes before the guard, which hears of a request once its head is whole.

Knows uvicorn's protocol for HTTP/1.1 as h11 reads it, also where a faster one is installed that limits nothing. Refuses
to know what is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import ClassVar

from h11 import LocalProtocolError
from uvicorn import Config

from ovis_app.ui.http_unsent import Unsent

PATIENCE = 30.0  # seconds from a connection, or from an answer's end and what came behind it, to a whole head
MOST = 8192  # connections of which a head is waited for, some times as many as are accepted at once; of more, the one
# that is waited for longest is closed
AHEAD = 64 * 1024  # bytes that may come behind a request which isn't answered yet

# uvicorn warns of a head that is none and of a protocol that isn't spoken here, a line or two a request: whoever likes
# fills the log with them. What fails in an answer is an error, and is written down.
quiet = logging.getLogger("uvicorn.error.heads")


def install(config: Config) -> None:
    """Has a server's connections be these, from now on. Nothing here speaks WebSocket."""
    quiet.setLevel(logging.ERROR)  # here: each Config sets up uvicorn's loggers anew, and those below them
    config.http_protocol_class = Heads
    config.ws_protocol_class = None


class Heads(Unsent):
    """A connection, closed where a head doesn't come; where it is silent behind an answer uvicorn closes it."""

    waited_for: ClassVar[OrderedDict[Heads, None]] = OrderedDict()  # of this process, whose descriptors they all take
    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.logger = quiet
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except LocalProtocolError:  # of what makes no sense behind an answer that has begun: it can't be said there
            self.cycle.disconnected = True  # nor can anything else
            self.transport.abort()
        if self.asked and not self.cycle.more_body and len(self.conn.trailing_data[0]) > AHEAD:
            self.transport.abort()  # it would be kept, without end, as often as the app looks whether somebody is there
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
            self.waited_for[self] = None
            if len(self.waited_for) > MOST:
                next(iter(self.waited_for))._give_up()

    def _rest(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
            del self.waited_for[self]

    def _give_up(self) -> None:
        self._rest()
        if not self.asked and not self.transport.is_closing():
            self.transport.close()
