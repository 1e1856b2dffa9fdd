"""Work that waits for files to be read, on threads of its own: whoever asks for something else isn't kept waiting.

Gradio runs events on a fixed number of threads; forty messages with pictures would hold them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio

T = TypeVar("T")

_threads = anyio.CapacityLimiter(6)  # readers at a time; those who wait for one hold no thread


async def aside(work: Callable[[], T]) -> T:
    """What `work` returns, from a thread; in turn where many ask."""
    return await anyio.to_thread.run_sync(work, limiter=_threads)
