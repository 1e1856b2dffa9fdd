"""Importing large libraries with the garbage collector out of the way, now and later.

Gradio, torch and transformers make half a million objects that live as long as the process. To look through them again
and again makes importing a fifth slower, and every full collection after it stops all threads for 0.3 s.

And linking what they bring in advance, which within an import no thread goes on beside. Knows nothing of ours.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def importing() -> Iterator[None]:
    """Nothing is collected meanwhile, and what was made meanwhile is never looked through again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def linked(package: str, libraries: Sequence[str]) -> None:
    """Has the system link files of a package that isn't imported yet; what isn't there is left to the
    import. Other threads go on meanwhile, as beside any function of C, but not while Python links something itself: of
    torch that takes two seconds, and on a busy machine nine."""
    found = find_spec(package)
    if sys.platform != "linux" or package in sys.modules or found is None or found.origin is None:
        return
    link = ctypes.CDLL(None).dlopen
    link.argtypes, link.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    for name in libraries:
        file = Path(found.origin).parent / name
        if file.exists():
            link(os.fsencode(file), os.RTLD_NOW | os.RTLD_LOCAL)
