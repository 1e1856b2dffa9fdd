"""A backend of this machine with servers beside it: all of their models in one list, one of them answers.

Knows who answers now; refuses to know how. The model of this machine stays there while a server answers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

from ovis_app import zoo
from ovis_app.backend import GONE, Backend, Counts, Occupancy, Offer, OffersElsewhere, Status, Weighs, Weight, occupancy
from ovis_app.backends.remote.backend import RemoteBackend
from ovis_app.backends.sights import seen_by
from ovis_app.errors import BackendError
from ovis_app.generation import Event, Request, Waiting
from ovis_app.sight import Sight
from ovis_app.zoo import ModelSpec


class BesideServers:
    """`here` answers at first. Where one of its models is chosen while a server answers, the server goes on until that
    model is there."""

    def __init__(self, here: Backend, servers: RemoteBackend) -> None:
        self._here, self._servers = here, servers
        self._away = False  # whether a server answers
        self._coming = ""  # id of the model of this machine that will answer once it is loaded
        self._lock = threading.Lock()

    def warm(self) -> None:
        self._servers.warm()
        self._here.warm()

    def status(self) -> Status:
        here, there = self._here.status(), self._servers.status()
        if not self._answers_away(here):
            return replace(here, servers=there.servers)
        return replace(there, change=here.change, problem=here.problem)

    def _answers_away(self, here: Status) -> bool:
        """Whether a server answers, once what was to come has come, or come to nothing."""
        with self._lock:
            if self._coming and here.change is None:
                self._away = here.model.id != self._coming or here.phase == "failed"
                self._coming = ""
            return self._away

    def offers(self) -> list[Offer]:
        return [*self._here.offers(), *self._servers.offers()]

    def offers_on(self, memory: int) -> list[Offer]:
        """See `backend.OffersElsewhere`: of the models of this machine."""
        return self._here.offers_on(memory) if isinstance(self._here, OffersElsewhere) else []

    def change(self, name: str, quantize: str | None = None) -> None:
        away = self._answers_away(self._here.status())
        if self._servers.offered(name):
            if not (away and self._servers.status().model.id == name):
                self._choose(name)
            return
        here, wanted = self._here.status(), zoo.resolve(name).id
        same = here.model.id == wanted and quantize in (None, here.quantize)
        if away and same and here.change is None and here.phase != "failed":
            with self._lock:
                self._away = False
            return
        self._here.change(name, quantize)
        with self._lock:
            self._coming = wanted if away else ""

    def _choose(self, name: str) -> None:
        if self._servers.status().model.id != name:
            self._servers.change(name)
        with self._lock:
            self._away, self._coming = True, ""

    def cancel_change(self) -> None:
        self._here.cancel_change()

    def close(self) -> None:
        self._servers.close()
        self._here.close()

    def several(self) -> dict[str, ModelSpec]:
        """See `backend.Several`: the model of this machine too, which stays loaded or is loaded again."""
        here = self._here.status()
        there = here.phase in ("ready", "answering", "unloaded", "returning")
        loaded = {here.model.public_id: here.model} if there else {}
        return {**loaded, **self._servers.several()}

    def occupancy(self) -> Occupancy:
        """See `backend.Occupied`: of this machine."""
        return occupancy(self._here)

    def count(self, request: Request) -> int | None:
        """See `backend.Counts`."""
        answers = self._answerer(request.model)
        return answers.count(request) if isinstance(answers, Counts) else None

    def weigh(self, request: Request) -> Weight | None:
        """See `backend.Weighs`."""
        answers = self._answerer(request.model)
        return answers.weigh(request) if isinstance(answers, Weighs) else None

    def stream(self, request: Request) -> Iterator[Event]:
        return self._answerer(request.model).stream(request)

    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        """See `backend.Sees`."""
        return seen_by(self._answerer(request.model), request, place)

    def _answerer(self, name: str) -> Backend:
        if name:
            if self._servers.offered(name):
                return self._servers
            if name != self._here.status().model.public_id:
                raise BackendError(GONE)
            return self._here
        return self._servers if self._answers_away(self._here.status()) else self._here
