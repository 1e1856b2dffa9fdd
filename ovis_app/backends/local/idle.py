"""When nobody has asked for long enough: a clock that whoever works winds again, and a thread that watches it.

Knows seconds; refuses to know what is done when they are over, and by whom.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Idle:
    """Calls `due` from a thread of its own whenever nobody has called `wind` for `seconds`, again and again until that
    happens; never where `seconds` are 0. What `due` does must be quick, and ask `over` at the moment that counts."""

    def __init__(self, seconds: float, due: Callable[[], None]) -> None:
        self.seconds = seconds
        self._due, self._wound = due, time.monotonic()
        self._closed = threading.Event()
        if seconds:
            threading.Thread(target=self._watch, name="ovis-idle", daemon=True).start()

    def wind(self) -> None:
        """Somebody asks, or has just been answered. From any thread."""
        self._wound = time.monotonic()

    def over(self) -> bool:
        """Whether the time is over now."""
        return self.seconds > 0 and self._left() <= 0

    def close(self) -> None:
        self._closed.set()

    def _left(self) -> float:
        return self._wound + self.seconds - time.monotonic()

    def _watch(self) -> None:
        while not self._closed.wait(max(self._left(), min(self.seconds, 1.0))):
            if self.over():
                self._due()
