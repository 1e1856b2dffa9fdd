"""Taking turns with a device: a lock that serves in the order of asking.

The engine takes a turn for each step, whoever encodes pictures one for each micro-batch: so neither waits for more than
one piece of the other's work. A plain lock would let the engine take every turn.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turns:
    """`with turns:` waits for its turn. Not to be taken twice by one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()  # the first has the turn

    def __enter__(self) -> None:
        with self._lock:
            mine = threading.Event()
            self._line.append(mine)
            if len(self._line) == 1:
                return
        mine.wait()

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        with self._lock:
            self._line.popleft()
            if self._line:
                self._line[0].set()
