"""One thread that does one piece of work after another, and a group of them that does many at once. Knows nothing of
models."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

log = logging.getLogger(__name__)


class Worker:
    """A thread with a queue. Whoever submits work gets its place in the queue from the ticket. `close` it before the
    process ends: an interpreter that goes down under a thread inside torch aborts."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._submitted = self._finished = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> int:
        """Queues `work`, which must see to its own errors. Returns its ticket."""
        with self._lock:
            self._submitted += 1
            self._queue.put(work)
            return self._submitted

    def ahead(self, ticket: int) -> int:
        """How many pieces of work come before the ticket's; 0 when it is being done or is done."""
        return max(ticket - self._finished - 1, 0)

    @property
    def busy(self) -> bool:
        return self._finished < self._submitted

    def close(self, seconds: float = 10.0) -> None:
        """Waits until what was submitted is done, at most `seconds`, and ends the thread."""
        self._queue.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception:  # the edge of the thread: the next piece of work must still be done
                log.exception("work failed")
            del work
            self._finished += 1


class ThreadGroup:
    """A thread for each piece of work, which must see to its own errors."""

    def __init__(self, name: str) -> None:
        self._name, self._lock = name, threading.Lock()
        self._threads: set[threading.Thread] = set()

    def start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True)
        with self._lock:  # whoever waits for them finds none that hasn't begun
            thread.start()
            self._threads.add(thread)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    @property
    def busy(self) -> bool:
        return bool(self._threads)

    def wait(self, seconds: float | None = None) -> None:
        """Until what was started is done, at most `seconds` each."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(seconds)
