"""Whether somebody still waits for a piece of work: a flag with a deadline, handed down to whoever does it. And whether
they would have the answer sooner.

Whoever works asks between two steps, by `check` or `is_set`; whoever waits no longer calls `set`, from any thread.
Knows a clock; refuses to know what is stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Stopped(Exception):
    """Nobody waits for this work any more, or its time is over. Ends the work; nobody needs to be told."""


class Stop:
    """Not set at first. Set for good by `set`, and as long as one of `parents` is, or the deadline has passed."""

    def __init__(self, *parents: Stop) -> None:
        self.deadline = float("inf")  # a time.monotonic(), which whoever works may move
        self._flag = threading.Event()
        self._parents = parents

    def set(self) -> None:
        self._flag.set()

    def is_set(self) -> bool:
        return self.wanted_no_more() or time.monotonic() > self.deadline

    def wanted_no_more(self) -> bool:
        """Whether somebody set it, the deadline aside."""
        return self._flag.is_set() or any(parent.is_set() for parent in self._parents)

    def check(self) -> None:
        """Raises Stopped once it is set."""
        if self.is_set():
            raise Stopped


class Haste:
    """For whoever waits for an answer behind a thought: whoever thinks offers to end that, and whoever waits may ask
    for it. From any thread."""

    def __init__(self) -> None:
        self.budget = 0  # tokens of the thought that can be ended; 0: there is none
        self._end: Callable[[], None] | None = None

    def offer(self, budget: int, end: Callable[[], None]) -> None:
        """`end` ends a thought of at most `budget` tokens with its next one."""
        self.budget, self._end = budget, end

    def ask(self) -> bool:
        """Ends the thought. Whether there is one that can be ended."""
        end = self._end
        if end is not None:
            end()
        return end is not None


NEVER = Stop()  # for whoever waits to the end: nobody sets it
