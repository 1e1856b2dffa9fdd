"""Importing large libraries with the garbage collector out of the way, now and later.

Gradio, torch and transformers make half a million objects that live as long as the process. To look through them again
and again makes importing a fifth slower, and every full collection after it stops all threads for 0.3 s. Knows nothing
of ours.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Nothing is collected meanwhile, and what was made meanwhile is never looked through again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
