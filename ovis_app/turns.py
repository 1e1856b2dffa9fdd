"""Taking turns with a device: a lock that serves in the order of asking.

The engine takes a turn for each step, whoever encodes pictures one for each micro-batch, and pauses between layers: so
neither waits for more than one piece of the other's work. A plain lock would let the engine take every turn. Knows
threads; refuses to know what they compute.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType

PIECE_SECONDS = 0.05  # that somebody may hold the device while others wait, where the work can be cut


class Turns:
    """`with turns:` waits for its turn. Not to be taken twice by one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()  # the first has the turn
        self._since = 0.0

    def __enter__(self) -> None:
        with self._lock:
            mine = threading.Event()
            self._line.append(mine)
            first = len(self._line) == 1
        if not first:
            mine.wait()
        self._since = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        with self._lock:
            self._line.popleft()
            if self._line:
                self._line[0].set()

    @property
    def taken(self) -> bool:
        """Whether somebody has it."""
        return bool(self._line)

    def pause(self) -> None:
        """Lets those who wait go first, if there are any and this turn was long enough. Only within one's turn."""
        if len(self._line) > 1 and time.monotonic() - self._since > PIECE_SECONDS:
            self.__exit__(None)
            self.__enter__()
