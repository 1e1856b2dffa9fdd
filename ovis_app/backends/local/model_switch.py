"""At most one change of models at a time: how far it is, whether it is still wanted, why the last came to nothing.

Knows names and words; refuses to know how a model is fetched, loaded and given up.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from ovis_app.backend import Change
from ovis_app.checkpoints.hub import Progress
from ovis_app.errors import BackendError
from ovis_app.stop import Stop
from ovis_app.zoo import ModelSpec

Phase = Literal["fetching", "waiting", "loading", "going back"]  # the present model answers in the first two


@dataclass(eq=False)
class PendingChange:
    """A change that is under way. Only its own thread writes what it says."""

    spec: ModelSpec
    words: str
    stop: Stop
    share: float | None = None
    phase: Phase = "fetching"
    ticket: int = 0  # of the exchange in the worker's queue, once it stands there


@dataclass
class ModelSwitch:
    """The one change that may be under way. From any thread. `closing` is set when the process ends."""

    closing: Stop
    pending: PendingChange | None = None
    problem: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> Change | None:
        """The change as the page sees it."""
        pending = self.pending
        if pending is None:
            return None
        return Change(pending.spec.name, pending.words, pending.share, pending.phase != "going back")

    def begin(self, spec: ModelSpec) -> PendingChange:
        """Raises BackendError while another change is under way."""
        with self._lock:
            if self.pending is not None:
                raise BackendError(f"{self.pending.spec.name} is on its way: wait for it, or cancel it first.")
            self.pending = PendingChange(spec, f"Looking for {spec.name}", Stop(self.closing))
            self.problem = ""
            return self.pending

    def cancel(self) -> None:
        """The change ends: at once while it only waits, else as soon as it reports its progress."""
        with self._lock:
            pending = self.pending
            if pending is None or pending.phase == "going back":
                return
            pending.stop.set()
            if pending.phase == "waiting":
                self.pending = None

    def step(self, pending: PendingChange, phase: Phase, words: str) -> bool:
        """Goes on to another phase; False where the change isn't wanted any more."""
        with self._lock:
            if self.pending is not pending:
                return False
            if phase != "going back" and pending.stop.is_set():  # cancelled where nobody could hear of it
                self.pending = None
                return False
            pending.phase, pending.words, pending.share = phase, words, None
            return True

    def wanted(self, pending: PendingChange) -> bool:
        return self.pending is pending and not self.closing.is_set()

    def end(self, pending: PendingChange, problem: str) -> None:
        """`problem` is why it came to nothing, or empty."""
        with self._lock:
            if self.pending is pending:
                self.pending, self.problem = None, problem

    def progress(self, pending: PendingChange) -> Progress:
        """Where a change reports its progress, and hears by Stopped that nobody wants it. What goes back goes on."""

        def report(words: str, share: float | None) -> None:
            (self.closing if pending.phase == "going back" else pending.stop).check()
            pending.words, pending.share = words, share

        return report
