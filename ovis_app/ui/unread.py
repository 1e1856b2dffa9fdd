"""What Gradio keeps for tabs until they take it: only so much of it all together.

Knows sizes; nothing of sessions and events. Anybody may ask for answers and never fetch them, and each holds the whole
conversation: 300 small requests took 1.8 GB that way, for good.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from typing import Any
from weakref import WeakSet

from gradio import queueing

from ovis_app.limits import MEGABYTE

MOST = 256 * MEGABYTE  # of all tabs; who listens leaves next to nothing

_lock = threading.Lock()  # each page of a process has an event loop of its own
_queues: WeakSet[Unread] = WeakSet()


class Unread(asyncio.Queue[Any]):
    """A tab's messages until it takes them. Where they are too many, whoever has left most loses the oldest of it."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: deque[int] = deque()
        self.bytes = 0
        with _lock:
            _queues.add(self)

    def put_nowait(self, item: Any) -> None:
        super().put_nowait(item)
        self.sizes.append(size_of(item))
        self.bytes += self.sizes[-1]
        with _lock:
            while sum(queue.bytes for queue in _queues) > MOST:
                max(_queues, key=lambda queue: queue.bytes).get_nowait()

    def get_nowait(self) -> Any:
        item = super().get_nowait()
        self.bytes -= self.sizes.popleft()
        return item


def install() -> None:
    """Makes Gradio keep messages so. Looked up by it for each tab, so replacing the name is enough."""
    queueing.AsyncQueue = Unread  # type: ignore[assignment, attr-defined]


def size_of(message: object) -> int:
    """About how many bytes a message takes: those of the values that it brings."""
    size, rest = 0, [getattr(message, "output", None)]
    while rest:
        value = rest.pop()
        size += sys.getsizeof(value)
        if isinstance(value, dict):
            rest += value.values()
        elif isinstance(value, list | tuple):
            rest += value
    return size
