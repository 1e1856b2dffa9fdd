"""What Gradio keeps for tabs until they take it: only so much of it all together, for only so many of them; and for how
long nobody has come for it.

Knows sizes, and which session has something under way; nothing of what that is. Anybody may ask for answers and never
fetch them, and each holds the whole conversation: 300 small requests took 1.8 GB that way, for good. Anybody may name a
new session with each request too, and Gradio forgot the oldest one, whose answer was still coming.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from gradio import queueing

from ovis_app.limits import MEGABYTE

MOST = 256 * MEGABYTE  # of all tabs; who listens leaves next to nothing
MOST_SESSIONS = 2000  # whose messages are kept; what is under way at once is far less

_lock = threading.Lock()  # each page of a process has an event loop of its own
_queues: WeakSet[Unread] = WeakSet()
_of_session: WeakValueDictionary[str, Unread] = WeakValueDictionary()


class Unread(asyncio.Queue[Any]):
    """A tab's messages until it takes them. Where they are too many, whoever has left most loses the oldest of it."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: deque[int] = deque()
        self.bytes = 0
        self.made, self.heard = time.monotonic(), False
        with _lock:
            _queues.add(self)

    async def get(self) -> Any:
        self.heard = True  # somebody waits for the next one
        return await super().get()

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


class Sessions(dict[str, Unread]):
    """The messages of each session. Where there are too many, the oldest for which nothing is under way goes, and what
    it had asked for: Gradio would keep that without end. `events` are those under way, `asked` the names of what each
    session asked for."""

    def __init__(self, events: Mapping[str, queueing.Event], asked: MutableMapping[str, set[str]]) -> None:
        super().__init__()
        self._events, self._asked = events, asked

    def __setitem__(self, session: str, messages: Unread) -> None:
        if session not in self and len(self) >= MOST_SESSIONS:
            busy = {event.session_hash for event in self._events.values()}
            over = next((one for one in self if one not in busy), None)
            if over is not None:
                del self[over]
        super().__setitem__(session, messages)
        with _lock:
            _of_session[session] = messages

    def __delitem__(self, session: str) -> None:
        super().__delitem__(session)
        self._asked.pop(session, None)


class Queue(queueing.Queue):
    """Gradio's, with our sessions, and without the list of the last 10,000 questions: of all of it a table was made
    anew for each one that ended, for a page of figures that isn't there."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ANALYTICS_MAX_EVENTS = 0
        asked = self.pending_event_ids_session
        self.pending_messages_per_session = Sessions(self.event_ids_to_events, asked)  # type: ignore[assignment]


def install() -> None:
    """Makes Gradio keep messages so. Looked up by it for each tab and each page, so replacing the names is enough."""
    queueing.AsyncQueue = Unread  # type: ignore[assignment, attr-defined]
    queueing.Queue = Queue  # type: ignore[misc]


def seconds(session: str | None) -> float:
    """For how long a session's answer goes on and nobody has come for it; 0 where somebody did, or it isn't known."""
    with _lock:
        messages = _of_session.get(session or "")
    return 0.0 if messages is None or messages.heard else time.monotonic() - messages.made


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
