"""A backend whose code isn't imported yet: it stands for the real one until the page is open, then hands on.

Importing torch and transformers takes longer than opening the page. Knows when to begin, not what is behind.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

from ovis_app.backend import (
    Backend,
    Counts,
    Occupancy,
    Offer,
    OffersElsewhere,
    Status,
    Weighs,
    Weight,
    occupancy,
    several,
)
from ovis_app.backends.sights import seen_by
from ovis_app.errors import BackendError, UserError
from ovis_app.frozen_imports import importing
from ovis_app.generation import Event, Request, Waiting
from ovis_app.sight import Sight
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

T = TypeVar("T")

POLL_SECONDS = 0.1  # seconds between two events of a stream that waits
STARTING = "Starting"
FAILED = "The model's libraries can't be loaded; the cause is in the server's log. Install the requirements again."


class _Try:
    """One import: how it went, once it is `over`."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.real: Backend | None = None
        self.failure: BaseException | None = None

    def made(self) -> Backend:
        """What was imported; waits for that. Raises BackendError."""
        self.over.wait()
        if self.real is None:
            raise BackendError(why(self.failure)) from self.failure
        return self.real


class LazyBackend:
    """Stands for the backend that `make` imports and returns, and that will answer with `spec` at first. `make` runs
    in a thread, when the first question comes or `warm` is called; where it failed, once more for who asks later."""

    def __init__(self, spec: ModelSpec, make: Callable[[], Backend]) -> None:
        self._spec, self._make = spec, make
        self._last: _Try | None = None
        self._beginning = threading.Lock()

    @property
    def _real(self) -> Backend | None:
        last = self._last  # another thread may begin anew meanwhile
        return None if last is None else last.real

    def status(self) -> Status:
        last = self._last
        if last is None or not last.over.is_set():
            return Status(self._spec, "starting", STARTING)
        if last.real is None:
            return Status(self._spec, "failed", "the model can't be loaded", why=why(last.failure))
        return last.real.status()

    def offers(self) -> list[Offer]:
        return self._begin().made().offers()

    def offers_on(self, memory: int) -> list[Offer]:
        """See `backend.OffersElsewhere`."""
        real = self._begin().made()
        return real.offers_on(memory) if isinstance(real, OffersElsewhere) else []

    def change(self, name: str, quantize: str | None = None) -> None:
        self._begin(anew=True).made().change(name, quantize)

    def cancel_change(self) -> None:
        self._begin().made().cancel_change()

    def warm(self) -> None:
        """Begins to import and to load, and returns at once."""
        if self._real is not None:
            self._real.warm()
        else:
            self._begin(anew=True)

    def stream(self, request: Request) -> Iterator[Event]:
        return self._once_made(lambda real: real.stream(request))

    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        """See `backend.Sees`."""
        return self._once_made(lambda real: seen_by(real, request, place))

    def _once_made(self, work: Callable[[Backend], Iterator[T]]) -> Iterator[Waiting | T]:
        mine = self._begin(anew=True)
        while not mine.over.wait(POLL_SECONDS):
            yield Waiting(STARTING)
        with closing(work(mine.made())) as events:  # type: ignore[type-var]
            yield from events

    def count(self, request: Request) -> int | None:
        """See `backend.Counts`."""
        real = self._begin().made()
        return real.count(request) if isinstance(real, Counts) else None

    def several(self) -> dict[str, ModelSpec]:
        """See `backend.Several`; none yet while the real one isn't there."""
        return several(self._real) if self._real is not None else {}

    def occupancy(self) -> Occupancy:
        """See `backend.Occupied`; nothing is known while the real one isn't there."""
        return occupancy(self._real) if self._real is not None else Occupancy()

    def weigh(self, request: Request) -> Weight | None:
        """See `backend.Weighs`; None as long as nobody is there."""
        return self._real.weigh(request) if isinstance(self._real, Weighs) else None

    def close(self) -> None:
        if (last := self._last) is not None:
            last.over.wait()  # whoever closes for good doesn't wait for that (`endings.within`)
        if self._real is not None:
            self._real.close()

    def _begin(self, *, anew: bool = False) -> _Try:
        """The try that is there; another one where that failed and it is to begin `anew`."""
        with self._beginning:
            last = self._last
            if last is None or (anew and last.over.is_set() and last.real is None):
                last = _Try()
                threading.Thread(target=self._import, args=(last,), name="ovis-import", daemon=True).start()
                self._last = last  # only now: where no thread begins, who asks later tries again
            return last

    def _import(self, mine: _Try) -> None:
        try:
            with importing():
                real = self._make()
            real.warm()
            mine.real = real
        except BaseException as error:  # the edge of a thread: whoever asks is told
            log.exception("the backend can't be imported")
            mine.failure = error
        finally:
            mine.over.set()


def why(failure: BaseException | None) -> str:
    """The sentence for it."""
    return str(failure) if isinstance(failure, UserError) else FAILED
