"""A generator's values for an event loop: threads compute them, and whoever leaves ends it.

Knows threads and generators; refuses to know what is computed.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Generator
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


async def driven(values: Generator[T, None, None], threads: anyio.CapacityLimiter) -> AsyncGenerator[T, None]:
    """The values, each computed in one of `threads`. Leaving closes the generator, without waiting for a thread."""
    steps = _Steps(values)
    try:
        while found := await anyio.to_thread.run_sync(steps.step, limiter=threads):
            yield found[0]
    finally:
        steps.close()


class _Steps(Generic[T]):
    """A generator that one thread steps through and another may close meanwhile, which it refuses by itself."""

    def __init__(self, values: Generator[T, None, None]) -> None:
        self._values = values
        self._lock = threading.Lock()
        self._closed = False

    def step(self) -> tuple[T] | None:
        """The next value; None once there is none."""
        try:
            with self._lock:
                return None if self._closed else (next(self._values),)
        except StopIteration:
            return None
        finally:
            if self._closed:
                self._end()

    def close(self) -> None:
        """Closes the generator now, or as soon as the step that is under way ends."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._values.close()
            finally:
                self._lock.release()
