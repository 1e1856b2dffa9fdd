"""Threads that read what clients attached, shared between them: nobody has all, and nobody waits without end.

Knows clients by name, threads and a clock. Refuses to know what is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio

from ovis_app.errors import Busy

T = TypeVar("T")

PATIENCE = 20.0  # seconds that somebody waits for a thread
CROWDED = "Too many files are being looked at just now: try again in a moment."


class Readers:
    """`most` threads, of which one client has at most `each`. Who waits for one holds none, and comes in turn."""

    def __init__(self, most: int, *, each: int, patience: float = PATIENCE) -> None:
        self._each, self._patience = each, patience
        self._places = anyio.CapacityLimiter(most)
        self._threads = anyio.CapacityLimiter(most)
        self._own: WeakValueDictionary[str, anyio.CapacityLimiter] = WeakValueDictionary()  # by client, while used

    async def run(self, work: Callable[[], T], *, client: str) -> T:
        """What `work` returns. Raises Busy where it can't be begun in time."""
        async with self._place(client):
            return await anyio.to_thread.run_sync(work, limiter=self._threads)

    @asynccontextmanager
    async def _place(self, client: str) -> AsyncIterator[None]:
        own = self._own.setdefault(client, anyio.CapacityLimiter(self._each))
        asks, held = object(), []
        try:
            try:
                with anyio.fail_after(self._patience):
                    for limiter in (own, self._places):
                        await limiter.acquire_on_behalf_of(asks)
                        held.append(limiter)
            except TimeoutError:
                raise Busy(CROWDED) from None
            yield
        finally:
            for limiter in held:
                limiter.release_on_behalf_of(asks)
