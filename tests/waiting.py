"""Waiting for what other threads do: long enough for a machine that is busy, so that only what never comes fails."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds


def until(condition: Callable[[], object], what: str = "it never happened") -> None:
    """Waits for a condition; fails with `what` when it never comes."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)
