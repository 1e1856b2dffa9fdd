"""At most one change of models at a time: how far it is, whether it is still wanted, why the last came to nothing.

Knows names and words; refuses to know how a model is fetched, loaded and given up.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from ovis_app.checkpoints.hub import Progress
from ovis_app.generation import BackendError, Change
from ovis_app.zoo import ModelSpec

Phase = Literal["fetching", "waiting", "loading", "going back"]  # the present model answers in the first two


class Cancelled(Exception):
    """Whoever wanted this wants it no more, or the process ends."""


@dataclass(eq=False)
class Coming:
    """A change that is under way. Only its own thread writes what it says."""

    spec: ModelSpec
    words: str
    share: float | None = None
    phase: Phase = "fetching"
    ticket: int = 0  # of the exchange in the worker's queue, once it stands there
    unwanted: threading.Event = field(default_factory=threading.Event)


class Changes:
    """The one change that may be under way. From any thread."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._lock = threading.Lock()
        self.coming: Coming | None = None
        self.problem = ""

    def now(self) -> Change | None:
        """The change as the page sees it."""
        coming = self.coming
        if coming is None:
            return None
        return Change(coming.spec.name, coming.words, coming.share, coming.phase != "going back")

    def begin(self, spec: ModelSpec) -> Coming:
        """Raises BackendError while another change is under way."""
        with self._lock:
            if self.coming is not None:
                raise BackendError(f"{self.coming.spec.name} is on its way: wait for it, or cancel it first.")
            self.coming, self.problem = Coming(spec, f"Looking for {spec.name}"), ""
            return self.coming

    def cancel(self) -> None:
        """The change ends: at once while it only waits, else as soon as it tells how far it is."""
        with self._lock:
            coming = self.coming
            if coming is None or coming.phase == "going back":
                return
            coming.unwanted.set()
            if coming.phase == "waiting":
                self.coming = None

    def step(self, coming: Coming, phase: Phase, words: str) -> bool:
        """Goes on to another phase; False where the change isn't wanted any more."""
        with self._lock:
            if self.coming is not coming:
                return False
            coming.phase, coming.words, coming.share = phase, words, None
            return True

    def wanted(self, coming: Coming) -> bool:
        return self.coming is coming and not self._closing.is_set()

    def end(self, coming: Coming, problem: str) -> None:
        """`problem` is why it came to nothing, or empty."""
        with self._lock:
            if self.coming is coming:
                self.coming, self.problem = None, problem

    def progress(self, coming: Coming) -> Progress:
        """Where a change tells how far it is, and is told that nobody wants it: by Cancelled."""

        def told(words: str, share: float | None) -> None:
            if self._closing.is_set() or (coming.unwanted.is_set() and coming.phase != "going back"):
                raise Cancelled
            coming.words, coming.share = words, share

        return told
