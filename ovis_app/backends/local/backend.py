"""The model in this process: loaded once, shared by every tab, answering one question after another, and exchanged for
another one when somebody asks for that.

Knows threads, the queue and changes of models; how a question is answered is in session.py.
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
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.media_encoder import Halted
from ovis_app.backends.local.model_switch import Cancelled, Changes, Coming
from ovis_app.backends.local.session import Answerer, Question, free_memory
from ovis_app.backends.local.worker import Crowd, Worker
from ovis_app.backends.validation import checked
from ovis_app.checkpoints import gptq, memory_fit
from ovis_app.checkpoints.hub import Progress, folder_of
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.generation import BackendError, Event, Offer, Request, Status, Waiting
from ovis_app.media import Limits, MediaCancelled, MediaError
from ovis_app.models.devices import choose_device
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

READY = "ready"
PATIENCE = 0.05  # seconds between two questions whether a change is still wanted
GRACE = 1.0  # seconds after its deadline in which an answer may still end by itself
TOO_LONG = "The answer took too long and was stopped: ask for less, or raise the deadline."
OUT_OF_MEMORY = "The model ran out of memory: lower max pixels or frames, or start a new chat, and try again."
FAILED = "The model failed while answering: try again, or start a new chat."


class LocalBackend:
    """Answers with one model. `stream` may be called from any thread; a single worker reads one question after another,
    and answers them in turn too, but for those that the engine answers together."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self.settings, self.limits = settings, limits
        self._answerer = Answerer(zoo.resolve(settings.model), settings, limits)
        self._worker = Worker("ovis-worker")
        self._state = "Starting"
        self._crowd = Crowd()
        self._closing = threading.Event()
        self._changes = Changes(self._closing)
        atexit.register(self.close)

    @property
    def spec(self) -> ModelSpec:
        """The model that answers."""
        return self._answerer.spec

    def status(self) -> Status:
        busy = self._worker.busy or self._crowd.busy
        words = "answering" if self._state == READY and busy else self._state
        return Status(self.spec, words, self._changes.now(), self._changes.problem)

    def warm(self) -> None:
        """Starts loading the model, and returns at once. A failure shows in `status` and in the first answer."""
        self._worker.submit(self._warm)

    def _warm(self) -> None:
        try:
            self._load(self._loading)
        except Cancelled:
            pass  # the process ends
        except BackendError as error:
            log.warning("the model can't be loaded: %s", error, exc_info=error.__cause__)

    def _load(self, progress: Progress) -> model_pool.Loaded:
        if self._state != READY:
            self._state = f"Loading {self.spec.name}"
        try:
            loaded = self._answerer.load(progress)
        except BaseException:
            self._state = "the model can't be loaded"
            raise
        self._state = READY
        return loaded

    def _loading(self, words: str, share: float | None) -> None:
        """Shows how far loading is, to whoever waits for an answer."""
        if self._closing.is_set():
            raise Cancelled
        self._state = words

    # --- changes of models -------------------------------------------------------------------------------------------

    def offers(self) -> list[Offer]:
        rows = [self.spec, *(row for row in zoo.MODELS if row.id != self.spec.id)]
        return [self._offer(row) for row in rows]

    def _offer(self, spec: ModelSpec) -> Offer:
        fit = memory_fit.fit(spec, **self._way(), freed=self._freed())
        lacks = gptq.needs(choose_device(self.settings.device)) if spec.quantization else ""
        return Offer(spec, fit.verdict, fit.needed, fit.available, lacks)

    def _way(self) -> dict[str, str]:
        """How models are loaded here."""
        return {"device": self.settings.device, "dtype": self.settings.dtype, "quantize": self.settings.quantize}

    def _freed(self) -> int:
        """Bytes that the present model gives back when it goes."""
        return model_pool.held_bytes() + self._answerer.bytes

    def change(self, name: str) -> None:
        spec = zoo.resolve(name)
        self._changes.problem = ""  # of the change before: here is another
        if spec.id == self.spec.id and self._state == READY:
            raise BackendError(f"{spec.name} answers already.")
        model_pool.refuse_what_cannot_fit(spec, **self._way(), freed=self._freed())
        coming = self._changes.begin(spec)
        threading.Thread(target=self._fetch, args=(coming,), name="ovis-fetch", daemon=True).start()

    def cancel_change(self) -> None:
        self._changes.cancel()

    def _fetch(self, coming: Coming) -> None:
        """In a thread of its own: the present model goes on answering until the new one's files are here, and look as
        if they could be loaded."""

        def fetched() -> None:
            folder = folder_of(coming.spec, self._changes.progress(coming))
            model_pool.look_over(coming.spec, folder)
            if not coming.spec.bundled and zoo.find(coming.spec.id) is None:  # the name told little, the files tell all
                named = {"id": coming.spec.id, "name": coming.spec.name}
                coming.spec = replace(zoo.resolve(str(folder)), **named)
                model_pool.refuse_what_cannot_fit(coming.spec, **self._way(), freed=self._freed())

        problem = self._problem_of(coming.spec, fetched)
        if problem is not None:
            self._changes.end(coming, problem)
        elif self._changes.step(coming, "waiting", "Waiting for the running answers"):
            coming.ticket = self._worker.submit(partial(self._exchange, coming))

    def _exchange(self, coming: Coming) -> None:
        """In the worker, between two answers: gives the present model up and loads the new one; if that fails, the
        other way round."""
        while self._crowd.busy and self._changes.wanted(coming):
            self._crowd.wait(PATIENCE)
        if not self._changes.step(coming, "loading", f"Loading {coming.spec.name}"):
            return
        present, told = self._answerer, self._changes.progress(coming)

        def shown(words: str, share: float | None) -> None:
            told(words, share)
            self._state = words

        problem = self._problem_of(
            coming.spec, lambda: self._seat(Answerer(coming.spec, self.settings, self.limits), shown)
        )
        if problem is not None:
            self._changes.step(coming, "going back", f"Loading {present.spec.name} again")
            back = self._problem_of(present.spec, lambda: self._seat(present, shown))
            answers = "" if not problem else f"{present.spec.name} answers again."
            problem = " ".join(part for part in (problem, answers if back is None else back) if part)
        self._changes.end(coming, problem or "")

    def _seat(self, answerer: Answerer, progress: Progress) -> None:
        """Makes room and loads."""
        self._answerer.close()
        self._answerer, self._state = answerer, f"Loading {answerer.spec.name}"
        model_pool.release()
        self._load(progress)

    def _problem_of(self, spec: ModelSpec, work: Callable[[], None]) -> str | None:
        """Does a part of a change. None when that went well, a sentence when not, nothing when it was cancelled."""
        try:
            work()
        except Cancelled:
            return ""
        except BackendError as error:
            log.warning("%s can't be loaded: %s", spec.name, error, exc_info=error.__cause__)
            return str(error)
        except Exception:  # the edge of a thread: the page must hear of it, and the worker live on
            log.exception("%s can't be loaded", spec.name)
            return f"{spec.name} can't be loaded; the cause is in the server's log."
        return None

    # --- answers -----------------------------------------------------------------------------------------------------

    def stream(self, request: Request) -> Iterator[Event]:
        """Events of one answer; see `Backend`. Raises BackendError for bad settings before anything is queued."""
        checked(request, self.spec, self.limits)
        stop = threading.Event()
        streamer = TokenStreamer()
        ticket = self._worker.submit(partial(self._work, request, streamer, stop, time.monotonic()))
        try:
            for event in streamer:
                waits = self._waits_for(ticket) if isinstance(event, Waiting) else ""
                yield Waiting(waits) if waits else event
        finally:
            stop.set()

    def _waits_for(self, ticket: int) -> str:
        """What stands before a question's own work; nothing once that has begun."""
        if self._state != READY:
            return self._state
        ahead, coming = self._worker.ahead(ticket), self._changes.coming
        if ahead and coming is not None and 0 < coming.ticket < ticket:
            return f"Waiting for {coming.spec.name}"
        return f"Waiting for {ahead} other question{'s' if ahead > 1 else ''}" if ahead else ""

    def close(self) -> None:
        """Ends what is running and what waits. Called at the end of the process at the latest."""
        self._closing.set()
        self._worker.close()
        self._crowd.wait(10.0)
        self._answerer.close()

    def _work(self, request: Request, streamer: TokenStreamer, stop: threading.Event, started: float) -> None:
        """In the worker: loads if need be, reads, and answers; or leaves the answer to a thread of its own."""
        over = float("inf")

        def halted() -> bool:
            return stop.is_set() or self._closing.is_set() or time.monotonic() > over

        def begin() -> None:
            """The clock runs once the work does, and anew once it is the answer's turn."""
            nonlocal over
            over = time.monotonic() + self.settings.deadline
            streamer.deadline = over + GRACE

        def read_and_answer() -> None:
            if halted():
                return
            loaded = self._load(self._loading)
            begin()
            asked = checked(request, self.spec, self.limits)  # by the model that answers: it may have changed
            question = self._answerer.read(loaded, asked, streamer, halted)
            if self._answerer.at_once:
                self._crowd.start(partial(self._edge, partial(answer, loaded, question), streamer, free_memory))
            else:
                answer(loaded, question)

        def answer(loaded: model_pool.Loaded, question: Question) -> None:
            done = self._answerer.answer(loaded, question, streamer, halted=halted, begin=begin, started=started)
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
