"""Stands where a model answers, and answers whatever is asked with how that model does: for a Space, whose owner sees
its page and nothing else of the machine.

Knows findings and events; refuses to know how they come about.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import copy_context
from functools import partial
from importlib.util import find_spec

from ovis_app import zoo
from ovis_app.backend import Offer, Status
from ovis_app.backends import NO_SPACES, require_local
from ovis_app.backends.local.worker import ThreadGroup
from ovis_app.conversation import Stats
from ovis_app.doctor.examination import examined
from ovis_app.doctor.finding import Finding, lines, summary, without
from ovis_app.doctor.gpu import looks
from ovis_app.doctor.told import private
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.errors import FAILED, BackendError, UserError
from ovis_app.generation import Answer, Done, Event, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.stop import Stop, Stopped
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

NO_CHANGE = "The model is being looked over: start the app without --doctor to have it answer."
NOT_HERE = "--doctor looks over a model in this process: take --backend local."

ANOTHER = "Waiting until another look is over"
READING = "Reading its files"
TURN_SECONDS = 0.1  # between two questions whether whoever waits for a turn still does

Look = Callable[[Callable[[str], None], Stop], Iterator[Finding]]  # called with what says what is going on


def open_examining(settings: Settings, limits: Limits) -> ExaminingBackend:
    """On ZeroGPU the model is loaded at once, elsewhere for each look. Raises BackendError."""
    if settings.backend != "local":
        raise BackendError(NOT_HERE)
    require_local()
    spec = zoo.adapted(settings.model, settings.adapter)
    if not settings.zerogpu:

        def look(note: Callable[[str], None], stop: Stop) -> Iterator[Finding]:
            return examined(spec, settings, quick=False, progress=lambda words, share: note(words), stop=stop)

        return ExaminingBackend(spec, look, private(spec, settings))
    if find_spec("spaces") is None:
        raise BackendError(NO_SPACES)
    import spaces

    return ExaminingBackend(spec, looks(settings, limits, spaces.GPU), private(spec, settings))


class ExaminingBackend:
    """A backend; see `backend.Backend`. Looks once at a time: each may load the model."""

    def __init__(self, spec: ModelSpec, look: Look, private: Sequence[str]) -> None:
        """`private` are names and paths that are nothing for visitors of a page."""
        self._spec, self._look, self._private = spec, look, private
        self._threads, self._closing, self._turn = ThreadGroup("ovis-doctor"), Stop(), threading.Lock()

    def warm(self) -> None:
        """Nothing is done before somebody asks."""

    def status(self) -> Status:
        phase = "answering" if self._threads.busy else "ready"
        return Status(self._spec, phase, phase)  # type: ignore[arg-type]

    def offers(self) -> list[Offer]:
        return []

    def change(self, name: str, quantize: str | None = None) -> None:
        raise BackendError(NO_CHANGE)

    def cancel_change(self) -> None:
        """There never is one."""

    def close(self) -> None:
        self._closing.set()
        self._threads.wait(10.0)

    def stream(self, request: Request) -> Iterator[Event]:
        stop, streamer = Stop(self._closing), TokenStreamer()
        # In this context, by which `spaces` knows who asks.
        self._threads.start(partial(copy_context().run, partial(self._edge, streamer, stop)))
        try:
            yield from streamer
        finally:
            stop.set()  # heard between two tokens or pieces of a file; what another process does, at its next finding

    def _edge(self, streamer: TokenStreamer, stop: Stop) -> None:
        """The edge of a thread: whatever happens, the reader hears an end."""
        try:
            self._tell(streamer, stop)
        except Stopped:
            streamer.fail(FAILED)  # read by nobody
        except UserError as error:
            log.info("refused: %s", error, exc_info=error.__cause__)
            streamer.fail(str(error))
        except BaseException:
            log.exception("looking a model over failed")
            streamer.fail(FAILED)

    def _tell(self, streamer: TokenStreamer, stop: Stop) -> None:
        """The table as an answer, line by line, which can be copied as it stands."""

        def note(words: str) -> None:
            stop.check()
            streamer.say(words)

        found: list[Finding] = []
        with self._alone(note):
            streamer.hand_on(Answer("```\n"))
            note(READING)
            with closing(self._look(note, stop)) as findings:  # type: ignore[type-var]
                for one in findings:
                    stop.check()
                    found.append(without(one, self._private))
                    streamer.hand_on(Answer("\n".join(lines(found[-1])) + "\n"))
        streamer.hand_on(Answer(f"```\n\n{summary(found)}."))
        streamer.done(Done("end", Stats()))

    @contextmanager
    def _alone(self, note: Callable[[str], None]) -> Iterator[None]:
        """Waits for a turn, and says so; `note` raises Stopped where nobody waits any more."""
        while not self._turn.acquire(timeout=TURN_SECONDS):
            note(ANOTHER)
        try:
            yield
        finally:
            self._turn.release()
