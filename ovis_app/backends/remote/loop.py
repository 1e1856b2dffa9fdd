"""An event loop in a thread of its own, so that whoever waits for a server can leave at any moment.

Cancelling from another thread never waits: Gradio closes generators on its own loop. Knows asyncio; refuses to know
what runs in it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")
END_SECONDS = 5.0  # that what was cancelled gets to close its connections


class Loop:
    """Runs coroutines from any thread until it is closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Begins the work. Cancelling what this returns cancels the work, and never blocks. Once the loop is closed,
        work is cancelled before it begins."""
        with self._lock:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        never: Future[Result] = Future()
        never.cancel()
        return never

    def close(self, *last: Coroutine[Any, Any, None]) -> None:
        """Cancels what runs, lets it close its connections, does what is to be done `last`, and ends the thread. May be
        called twice."""
        with self._lock:
            closed, self._closed = self._closed, True
        if closed:
            for work in last:
                work.close()
            return
        ended = asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        try:
            with suppress(TimeoutError):  # what doesn't hear that it is cancelled is left
                ended.result(END_SECONDS)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(END_SECONDS)
            if not self._loop.is_running():
                self._loop.close()

    async def _end(self, last: Sequence[Coroutine[Any, Any, None]]) -> None:
        await asyncio.sleep(0.01)  # what has just begun gets to where it can be cancelled in peace
        running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.gather(*last, return_exceptions=True)
