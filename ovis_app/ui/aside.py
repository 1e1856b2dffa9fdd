"""Work that waits for files to be read, on threads of its own: whoever asks for something else isn't kept waiting.

Gradio runs events on a fixed number of threads; forty messages with pictures would hold them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ovis_app.media.readers import Readers

T = TypeVar("T")

readers = Readers(6, each=2)


async def aside(work: Callable[[], T], *, client: str) -> T:
    """What `work` returns, from a thread; in turn where many ask. Raises Busy where that would take too long."""
    return await readers.run(work, client=client)
