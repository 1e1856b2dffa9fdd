"""The model in this process: loaded once, shared by every tab, answering one question after another, and exchanged for
another one when somebody asks for that.

Knows threads, the queue and changes of models; how a question is answered is in answering.py.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from ovis_app import zoo
from ovis_app.backends import loading
from ovis_app.backends.answering import Answerer, Question, free_memory
from ovis_app.backends.checking import checked
from ovis_app.backends.looking import Halted
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.engine.worker import Crowd, Worker
from ovis_app.generation import BackendError, Change, Event, Offer, Request, Status, Waiting
from ovis_app.media import Limits, MediaCancelled, MediaError
from ovis_app.models import gptq, memory
from ovis_app.models.devices import choose_device
from ovis_app.models.hub import folder_of
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

READY = "ready"
TOO_LONG = "The answer took too long and was stopped: ask for less, or raise the deadline."
OUT_OF_MEMORY = "The model ran out of memory: lower max pixels or frames, or start a new chat, and try again."
FAILED = "The model failed while answering: try again, or start a new chat."


class Cancelled(Exception):
    """Whoever wanted the other model wants it no more."""


class LocalBackend:
    """Answers with one model. `stream` may be called from any thread; a single worker reads one question after another,
    and answers them in turn too, but for those that the engine answers together."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self.settings, self.limits = settings, limits
        self._answerer = Answerer(zoo.resolve(settings.model), settings, limits)
        self._worker = Worker("ovis-worker")
        self._state = "starting"
        self._crowd = Crowd()
        self._closing = threading.Event()
        self._changing = threading.Lock()  # held while `_change` is looked at and set
        self._change: Change | None = None
        self._cancel = threading.Event()
        self._going_back = False  # to the model before, which can't be cancelled
        self._problem = ""
        atexit.register(self.close)

    @property
    def spec(self) -> ModelSpec:
        """The model that answers."""
        return self._answerer.spec

    def status(self) -> Status:
        busy = self._worker.busy or self._crowd.busy
        words = "answering" if self._state == READY and busy else self._state
        return Status(self.spec, words, self._change, self._problem)

    def warm(self) -> None:
        """Starts loading the model, and returns at once. A failure shows in `status` and in the first answer."""
        self._worker.submit(self._warm)

    def _warm(self) -> None:
        try:
            self._load()
        except Cancelled:
            pass  # the process ends
        except BackendError as error:
            log.warning("the model can't be loaded: %s", error, exc_info=error.__cause__)

    def _load(self) -> loading.Loaded:
        if self._state != READY:
            self._state = f"Loading {self.spec.name}"
        try:
            loaded = self._answerer.load(self._progress)
        except BaseException:
            self._state = "the model can't be loaded"
            raise
        self._state = READY
        return loaded

    def _progress(self, words: str, share: float | None) -> None:
        """Shows how far loading is, to whoever waits for an answer or for the change; ends a change that was
        cancelled, and whatever there is when the process ends."""
        if self._closing.is_set():
            raise Cancelled
        if self._change is None or self._state != READY:
            self._state = words
        if self._change is not None:
            if self._cancel.is_set() and not self._going_back:
                raise Cancelled
            self._change = replace(self._change, words=words, share=share)

    # --- changes of models -------------------------------------------------------------------------------------------

    def offers(self) -> list[Offer]:
        rows = [self.spec, *(row for row in zoo.MODELS if row.id != self.spec.id)]
        return [self._offer(row) for row in rows]

    def _offer(self, spec: ModelSpec) -> Offer:
        fit = memory.fit(spec, **self._way(), freed=loading.held_bytes())
        lacks = gptq.needs(choose_device(self.settings.device)) if spec.quantization else ""
        return Offer(spec, fit.verdict, fit.needed, fit.available, lacks)

    def _way(self) -> dict[str, str]:
        """How models are loaded here."""
        return {"device": self.settings.device, "dtype": self.settings.dtype, "quantize": self.settings.quantize}

    def change(self, name: str) -> None:
        spec = zoo.resolve(name)
        if spec.id == self.spec.id and self._state == READY:
            return
        loading.refuse_what_cannot_fit(spec, **self._way(), freed=loading.held_bytes())
        with self._changing:
            if self._change is not None:
                raise BackendError(f"{self._change.name} is on its way: wait for it, or cancel it first.")
            self._change, self._problem = Change(spec.name, f"Looking for {spec.name}"), ""
            self._cancel.clear()
        threading.Thread(target=self._fetch, args=(spec,), name="ovis-fetch", daemon=True).start()

    def cancel_change(self) -> None:
        self._cancel.set()

    def _fetch(self, spec: ModelSpec) -> None:
        """In a thread of its own: the present model goes on answering until the new one's files are here."""
        problem = self._problem_of(spec, lambda: folder_of(spec, self._progress))
        if problem is not None:
            self._changed(problem)
            return
        if (self._worker.busy or self._crowd.busy) and self._change is not None:
            self._change = replace(self._change, words="Waiting for the running answers", share=None)
        self._worker.submit(partial(self._exchange, spec))

    def _exchange(self, spec: ModelSpec) -> None:
        """In the worker, between two answers: frees the present model, loads the new one; if that fails, the other
        way round."""
        if self._cancel.is_set():
            self._changed("")
            return
        present = self._answerer
        problem = self._problem_of(spec, lambda: self._seat(Answerer(spec, self.settings, self.limits)))
        if problem is not None:
            self._going_back = True
            back = self._problem_of(present.spec, lambda: self._seat(present))
            self._going_back = False
            problem = problem and f"{problem} {present.spec.name} {'answers again' if back is None else 'is lost too'}."
        self._changed(problem or "")

    def _seat(self, answerer: Answerer) -> None:
        """Waits for answers that are under way, makes room and loads."""
        self._crowd.wait()
        self._answerer.close()
        self._answerer, self._state = answerer, f"Loading {answerer.spec.name}"
        loading.release()
        self._load()

    def _problem_of(self, spec: ModelSpec, work: object) -> str | None:
        """Does a part of a change. None when that went well, a sentence when not, nothing when it was cancelled."""
        try:
            work()  # type: ignore[operator]
        except Cancelled:
            return ""
        except BackendError as error:
            log.warning("%s can't be loaded: %s", spec.name, error, exc_info=error.__cause__)
            return str(error)
        except Exception:  # the edge of a thread: the page must hear of it, and the worker live on
            log.exception("%s can't be loaded", spec.name)
            return f"{spec.name} can't be loaded; the cause is in the server's log."
        return None

    def _changed(self, problem: str) -> None:
        self._change, self._problem = None, problem

    # --- answers -----------------------------------------------------------------------------------------------------

    def stream(self, request: Request) -> Iterator[Event]:
        """Events of one answer; see `Backend`. Raises BackendError for bad settings before anything is queued."""
        checked(request, self.spec, self.limits)
        started = time.monotonic()
        stop = threading.Event()
        streamer = TokenStreamer(deadline=started + self.settings.deadline + 1.0)
        ticket = self._worker.submit(partial(self._work, request, streamer, stop, started))
        try:
            for event in streamer:
                waits = self._waits_for(ticket)
                if waits:  # the clock runs once the work begins
                    streamer.deadline = time.monotonic() + self.settings.deadline + 1.0
                yield Waiting(waits) if waits and isinstance(event, Waiting) else event
        finally:
            stop.set()

    def _waits_for(self, ticket: int) -> str:
        """What stands before a question's own work; nothing once that has begun."""
        if self._state != READY:
            return self._state
        ahead = self._worker.ahead(ticket)
        return f"Waiting for {ahead} other question{'s' if ahead > 1 else ''}" if ahead else ""

    def close(self) -> None:
        """Ends what is running and what waits. Called at the end of the process at the latest."""
        self._closing.set()
        self._worker.close()
        self._crowd.wait(10.0)
        self._answerer.close()

    def _work(self, request: Request, streamer: TokenStreamer, stop: threading.Event, started: float) -> None:
        """In the worker: loads if need be, reads, and answers; or leaves the answer to a thread of its own."""
        over = [float("inf")]

        def halted() -> bool:
            return stop.is_set() or self._closing.is_set() or time.monotonic() > over[0]

        def read_and_answer() -> None:
            if halted():
                return
            loaded = self._load()
            over[0] = time.monotonic() + self.settings.deadline
            asked = checked(request, self.spec, self.limits)  # by the model that answers: it may have changed
            question = self._answerer.read(loaded, asked, streamer, halted)
            if self._answerer.at_once:
                self._crowd.start(partial(self._edge, partial(answer, loaded, question), streamer, free_memory))
            else:
                answer(loaded, question)

        def answer(loaded: loading.Loaded, question: Question) -> None:
            done = self._answerer.answer(loaded, question, streamer, halted=halted, started=started)
            if done.finish == "stopped" and not stop.is_set() and not self._closing.is_set():
                raise BackendError(TOO_LONG)
            streamer.done(done)

        self._edge(read_and_answer, streamer, self._answerer.forget)

    def _edge(self, work: Callable[[], None], streamer: TokenStreamer, clean: Callable[[], None]) -> None:
        """The edge of a thread: whatever happens, the reader hears an end. `clean` gives memory back."""
        failed = ""
        try:
            work()
        except (Halted, MediaCancelled, Cancelled):
            streamer.fail(TOO_LONG)  # read only if it was the deadline, not a reader who left
        except (BackendError, MediaError) as error:
            log.info("refused: %s", error, exc_info=error.__cause__)
            streamer.fail(str(error))
        except torch.OutOfMemoryError:
            log.exception("out of memory")
            failed = OUT_OF_MEMORY
        except BaseException:
            log.exception("generation failed")
            failed = FAILED
        if failed:  # here the exception is gone, and with it what its traceback held
            clean()
            streamer.fail(failed)
