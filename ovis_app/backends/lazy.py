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


class LazyBackend:
    """Stands for the backend that `make` imports and returns, and that will answer with `spec` at first. `make` runs
    in a thread, when the first question comes or `warm` is called; where it failed, once more for each `warm`."""

    def __init__(self, spec: ModelSpec, make: Callable[[], Backend]) -> None:
        self._spec, self._make = spec, make
        self._real: Backend | None = None
        self._failure: BaseException | None = None
        self._made = threading.Event()
        self._begun = False
        self._beginning = threading.Lock()

    def status(self) -> Status:
        if self._real is not None:
            return self._real.status()
        if self._failure is not None:
            return Status(self._spec, "failed", "the model can't be loaded", why=why(self._failure))
        return Status(self._spec, "starting", STARTING)

    def offers(self) -> list[Offer]:
        return self._wait().offers()

    def offers_on(self, memory: int) -> list[Offer]:
        """See `backend.OffersElsewhere`."""
        real = self._wait()
        return real.offers_on(memory) if isinstance(real, OffersElsewhere) else []

    def change(self, name: str, quantize: str | None = None) -> None:
        self._wait().change(name, quantize)

    def cancel_change(self) -> None:
        self._wait().cancel_change()

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
        self._begin()
        while not self._made.wait(POLL_SECONDS):
            yield Waiting(STARTING)
        with closing(work(self._wait())) as events:  # type: ignore[type-var]
            yield from events

    def count(self, request: Request) -> int | None:
        """See `backend.Counts`."""
        real = self._wait()
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
        if self._begun:
            self._made.wait()  # whoever closes for good doesn't wait for that (`endings.within`)
        if self._real is not None:
            self._real.close()

    def _begin(self, *, anew: bool = False) -> None:
        with self._beginning:
            if self._begun and not (anew and self._made.is_set() and self._real is None):
                return
            self._begun, self._failure = True, None
            self._made.clear()
            threading.Thread(target=self._import, name="ovis-import", daemon=True).start()

    def _import(self) -> None:
        try:
            with importing():
                real = self._make()
            real.warm()
            self._real = real
        except BaseException as error:  # the edge of a thread: whoever asks is told
            log.exception("the backend can't be imported")
            self._failure = error
        finally:
            self._made.set()

    def _wait(self) -> Backend:
        self._begin()
        self._made.wait()
        if self._real is None:
            raise BackendError(why(self._failure)) from self._failure
        return self._real


def why(failure: BaseException | None) -> str:
    """The sentence for it."""
    return str(failure) if isinstance(failure, UserError) else FAILED
