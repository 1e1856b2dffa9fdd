"""A model that couldn't be loaded: why, and for whom that is an answer.

Whoever had asked by then has waited for that very try, and hears how it went; whoever asks later is worth another one.
So six who wait for a model cause one load, however it goes. Knows sentences and seconds; refuses to know models.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ovis_app.engine.answer import out_of_memory
from ovis_app.errors import BackendError, UserError
from ovis_app.stop import Stopped

log = logging.getLogger(__name__)

NOT_LOADED = "{name} can't be loaded; the cause is in the server's log."
NO_MEMORY = "{name} needs more memory than is free: close what else uses it, or choose a smaller model."


class NotLoaded(BackendError):
    """A try that came to nothing, of which the log knows."""


class FailedLoad:
    """How the last try went: nothing, where it went well or there was none."""

    def __init__(self) -> None:
        self.why = ""
        self._ended = float("-inf")

    @contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Around a try to load a model. Raises NotLoaded, and Stopped."""
        try:
            yield
        except Stopped:
            raise
        except Exception as error:
            self.why, self._ended = why_not_loaded(error, name), time.monotonic()
            write_down(error, name)
            raise NotLoaded(self.why) from error

    def check(self, asked: float) -> None:
        """Raises NotLoaded for whoever asked, at a time.monotonic(), before the last try came to nothing."""
        if asked <= self._ended:
            raise NotLoaded(self.why)


def write_down(error: Exception, name: str) -> None:
    """To the log: the sentence, and what caused it."""
    said, cause = (error, error.__cause__) if isinstance(error, UserError) else (why_not_loaded(error, name), error)
    log.warning("%s can't be loaded: %s", name, said, exc_info=cause)


def why_not_loaded(error: Exception, name: str) -> str:
    """A sentence for what drivers, disks and libraries raise where a model is loaded."""
    if isinstance(error, UserError):
        return str(error)
    full = out_of_memory(error) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)  # of a file's pages
    return (NO_MEMORY if full else NOT_LOADED).format(name=name)
