"""When nobody has asked for long enough: a clock that whoever works winds again, and a thread that watches it.

Knows seconds; refuses to know what is done when they are over, and by whom.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PUT_ASIDE = "{name} was put aside after {minutes:g} min without a question; the next one brings it back"

Clock = Callable[[], float]  # seconds, as time.monotonic has them


class Idle:
    """Calls `due` from a thread of its own whenever nobody has called `wind` for `seconds`, again and again until that
    happens; never where `seconds` are 0. What `due` does must be quick, and ask `over` at the moment that counts."""

    def __init__(self, seconds: float, due: Callable[[], None], clock: Clock = time.monotonic) -> None:
        self.seconds = seconds
        self._due, self._clock, self._wound = due, clock, clock()
        self._closed = threading.Event()
        if seconds:
            threading.Thread(target=self._watch, name="ovis-idle", daemon=True).start()

    def wind(self) -> None:
        """Somebody asks, or has just been answered. From any thread."""
        self._wound = self._clock()

    def over(self) -> bool:
        """Whether the time is over now."""
        return self.seconds > 0 and self._left() <= 0

    def put_aside(self, name: str) -> str:
        """What is said of a model that was unloaded."""
        return PUT_ASIDE.format(name=name, minutes=self.seconds / 60)

    def look(self) -> None:
        """Calls `due` if the time is over."""
        if self.over():
            self._due()

    def close(self) -> None:
        self._closed.set()

    def _left(self) -> float:
        return self._wound + self.seconds - self._clock()

    def _watch(self) -> None:
        while not self._closed.wait(max(self._left(), min(self.seconds, 1.0))):
            self.look()
