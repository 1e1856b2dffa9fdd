"""One line for everybody who asks: so many answers at once, so many questions waiting, served in turn between clients.

A backend around another one. Knows clients and places; refuses to know what is asked and who answers.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
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
    answering,
    occupancy,
    several,
)
from ovis_app.backends.sights import seen_by
from ovis_app.backends.validation import checked
from ovis_app.errors import BUSY, Busy
from ovis_app.generation import Event, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.outcomes import Tell, nobody, told
from ovis_app.sight import Sight
from ovis_app.zoo import ModelSpec

POLL_SECONDS = 0.1  # between two events of a stream that waits
NEWEST = 0.3  # how much the newest turn counts in what is expected of the next ones

T = TypeVar("T")


class Place:
    """A question's place in the line. `turn` is set when it is its turn, or when it has lost its place."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.turn = threading.Event()
        self.lost = False


class FairQueue:
    """Hands on to `backend` what comes, `at_once` questions at a time. Each client has a line of its own, and the lines
    are served in turn. Where `most_waiting` wait, whoever has more of them than the next one to come makes way. `tell`
    hears what came of each."""

    def __init__(
        self, backend: Backend, limits: Limits, *, at_once: int, most_waiting: int, tell: Tell = nobody
    ) -> None:
        self._backend, self._limits, self._tell = backend, limits, tell
        self._at_once, self._most_waiting = at_once, most_waiting
        self._lock = threading.Lock()
        self._running: set[Place] = set()
        self._lines: OrderedDict[str, deque[Place]] = OrderedDict()  # by client, the next to be served first
        self._pace: float | None = None  # seconds from turn to turn while somebody waits
        self._turn_began = 0.0

    # --- handed on ---------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        return self._backend.status()

    def offers(self) -> list[Offer]:
        return self._backend.offers()

    def offers_on(self, memory: int) -> list[Offer]:
        """See `backend.OffersElsewhere`."""
        return self._backend.offers_on(memory) if isinstance(self._backend, OffersElsewhere) else []

    def change(self, name: str, quantize: str | None = None) -> None:
        self._backend.change(name, quantize)

    def cancel_change(self) -> None:
        self._backend.cancel_change()

    def close(self) -> None:
        self._backend.close()

    def warm(self) -> None:
        self._backend.warm()

    def count(self, request: Request) -> int | None:
        """See `backend.Counts`."""
        return self._backend.count(request) if isinstance(self._backend, Counts) else None

    def several(self) -> dict[str, ModelSpec]:
        """See `backend.Several`."""
        return several(self._backend)

    def weigh(self, request: Request) -> Weight | None:
        """See `backend.Weighs`."""
        return self._backend.weigh(request) if isinstance(self._backend, Weighs) else None

    def occupancy(self) -> Occupancy:
        """See `backend.Occupied`, with who is served and who waits here."""
        taken = occupancy(self._backend)  # which may take a while: nobody stands in line for it
        with self._lock:
            return replace(taken, running=len(self._running), waiting=sum(map(len, self._lines.values())))

    # --- the line ----------------------------------------------------------------------------------------------------

    def stream(self, request: Request) -> Iterator[Event]:
        """As the backend's, after events that say how many wait before this one. Raises RequestError for what can't be
        answered, before it waits, and Busy where there is no place."""
        return told(self._in_line(request, lambda: self._backend.stream(request)), request, self._tell)

    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        """See `backend.Sees`: whoever looks waits in the same line."""
        looked = self._in_line(request, lambda: seen_by(self._backend, request, place))
        return told(looked, request, self._tell, what="look")

    def _in_line(self, request: Request, work: Callable[[], Iterator[T]]) -> Iterator[Waiting | T]:
        checked(request, answering(self._backend, request.model), self._limits)
        place = self._join(request.client)
        try:
            while not place.turn.wait(POLL_SECONDS):
                yield Waiting(self._wait(place))
            if place.lost:
                raise Busy(BUSY)
            with closing(work()) as events:  # type: ignore[type-var]
                yield from events
        finally:
            self._leave(place)

    def _join(self, client: str) -> Place:
        place = Place(client)
        with self._lock:
            if len(self._running) < self._at_once:  # then nobody waits
                self._start(place)
                return place
            if sum(map(len, self._lines.values())) >= self._most_waiting:
                self._make_way(client)
            self._lines.setdefault(client, deque()).append(place)
        return place

    def _make_way(self, client: str) -> None:
        """The longest line loses its last one, if that is fair. Raises Busy."""
        longest = max(self._lines, key=lambda name: len(self._lines[name]), default=client)
        if len(self._lines.get(longest, ())) <= len(self._lines.get(client, ())) + 1:
            raise Busy(BUSY)
        lost = self._lines[longest].pop()
        lost.lost = True
        lost.turn.set()

    def _wait(self, place: Place) -> str:
        """How long it will be: in questions, and in seconds where turns were taken before."""
        before, pace = self._before(place), self._pace
        waiting = f"Waiting for {before} other question{'s' if before > 1 else ''}"
        seconds = round(before * pace) if pace is not None else 0
        return f"{waiting}, about {seconds} s" if seconds else waiting

    def _before(self, place: Place) -> int:
        """How many are served before it, one of those that run included."""
        with self._lock:
            line = self._lines.get(place.client, deque())
            rounds = line.index(place) if place in line else 0
            names = list(self._lines)
            earlier = names[: names.index(place.client)] if place.client in names else []
            others = sum(
                min(len(waiting), rounds + (name in earlier))
                for name, waiting in self._lines.items()
                if name != place.client
            )
            return rounds + others + 1

    def _leave(self, place: Place) -> None:
        """Its place is another's: called once it was answered, has lost its place, or waits no more."""
        with self._lock:
            self._running.discard(place)
            line = self._lines.get(place.client)
            if line is not None and place in line:
                line.remove(place)
                if not line:
                    del self._lines[place.client]
            while self._lines and len(self._running) < self._at_once:
                client, line = next(iter(self._lines.items()))
                self._learn_pace()
                self._start(line.popleft())
                if line:
                    self._lines.move_to_end(client)
                else:
                    del self._lines[client]

    def _learn_pace(self) -> None:
        """A turn follows upon another: all places were taken since that began."""
        took = time.monotonic() - self._turn_began
        self._pace = took if self._pace is None else NEWEST * took + (1 - NEWEST) * self._pace

    def _start(self, place: Place) -> None:
        self._turn_began = time.monotonic()
        self._running.add(place)
        place.turn.set()
