"""One answer, between whoever asked for it and the thread that makes it: its events, its deadline, and an end whatever
happens.

Knows streamers, stops and what may be raised. Refuses to know models, and what is done in the thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ovis_app.backends.local.failed_load import NotLoaded
from ovis_app.engine.answer import out_of_memory
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.errors import CLOSED, FAILED, OUT_OF_MEMORY, TOO_LONG, BackendError, MediaError, RequestError, UserError
from ovis_app.generation import Done, Event, Waiting
from ovis_app.request_id import RequestId
from ovis_app.stop import Stop, Stopped

log = logging.getLogger(__name__)

GRACE_SECONDS = 1.0  # after its deadline, in which an answer may still end by itself


@dataclass(frozen=True)
class OneAnswer:
    """Asked for by the request of this id, until `stop` says that nobody waits."""

    request_id: RequestId
    stop: Stop
    streamer: TokenStreamer = field(default_factory=TokenStreamer)

    def events(self, waits: Callable[[], str]) -> Iterator[Event]:
        """What comes of it, for whoever asked; `waits` says what stands before it, as long as something does. Leaving
        stops it."""
        try:
            for event in self.streamer:
                note = waits() if isinstance(event, Waiting) else ""
                yield Waiting(note) if note else event
        finally:
            self.stop.set()

    def begin(self, seconds: float) -> None:
        """The clock runs from now."""
        self.stop.deadline = time.monotonic() + seconds
        self.streamer.deadline = self.stop.deadline + GRACE_SECONDS

    def end(self, done: Done) -> None:
        """Hands its end on. Raises BackendError where its time was over before."""
        if done.finish == "stopped" and not self.stop.wanted_no_more():
            raise BackendError(TOO_LONG)
        self.streamer.done(done)

    def made(self, work: Callable[[], None], clean: Callable[[], None] = lambda: None) -> None:
        """Does a thread's work, at its edge: whatever happens, the reader hears an end. `clean` gives memory back."""
        failed = ""
        try:
            work()
        except Stopped:
            self.streamer.fail(CLOSED if self.stop.wanted_no_more() else TOO_LONG)  # a reader who left reads neither
        except NotLoaded as error:
            self.streamer.fail(str(error))
        except UserError as error:
            log.info("refused (request %s): %s", self.request_id, error, exc_info=error.__cause__)
            self.streamer.fail(str(error), refused=isinstance(error, RequestError | MediaError))
        except BaseException as error:
            full = out_of_memory(error)
            log.exception("out of memory (request %s)" if full else "generation failed (request %s)", self.request_id)
            failed = OUT_OF_MEMORY if full else FAILED
        if failed:  # here the exception is gone, and with it what its traceback held
            clean()
            self.streamer.fail(failed)
