"""Waiting for what other threads do: long enough for a machine that is busy, so that only what never comes fails."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds
TICK = 0.02  # seconds between two looks that are counted


def until(condition: Callable[[], object], what: str = "it never happened") -> None:
    """Waits for a condition; fails with `what` when it never comes."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def ticks_until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Waits for a condition, and says after how many seconds it came; fails with `what` where those are too many. Not
    counted is what this process itself waits for a processor, so that a busy machine isn't taken for a slow app."""
    ticks = 0
    while not condition():
        assert ticks * TICK < seconds, what
        time.sleep(TICK)
        ticks += 1
    return ticks * TICK
