"""The model in this process: loaded once, shared by every tab, answering one question after another, and exchanged for
another one when somebody asks for that.

Knows threads, the queue and changes of models; how a question is answered is in session.py.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

import torch

from ovis_app import zoo
from ovis_app.backend import Examination, Occupancy, Offer, Phase, Status, Weight
from ovis_app.backends.local import less_memory, model_pool
from ovis_app.backends.local.failed_load import FailedLoad, NotLoaded, why_not_loaded, write_down
from ovis_app.backends.local.idle import Clock, Idle
from ovis_app.backends.local.model_pool import Ready
from ovis_app.backends.local.model_switch import ModelSwitch, PendingChange
from ovis_app.backends.local.offered import offered, speed_of
from ovis_app.backends.local.one_answer import OneAnswer
from ovis_app.backends.local.session import Session
from ovis_app.backends.local.worker import ThreadGroup, Worker
from ovis_app.backends.validation import checked
from ovis_app.checkpoints import bitsandbytes, memory_fit
from ovis_app.checkpoints.hub import Progress
from ovis_app.checkpoints.placement import Placement
from ovis_app.conversation import Stats
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.errors import CLOSED, BackendError, UserError
from ovis_app.generation import Done, Event, Request, Waiting
from ovis_app.kept_examination import kept
from ovis_app.limits import Limits
from ovis_app.models.devices import bytes_held
from ovis_app.settings import Settings
from ovis_app.sight import Sight
from ovis_app.stop import Stop, Stopped
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

Begin = Callable[[], None]  # called when an answer's turn has come
Work = Callable[[Session, Request, TokenStreamer, Stop, Begin], Done]

POLL_SECONDS = 0.05  # how often a change that waits for answers checks whether it is still wanted
CLOSE_SECONDS = 10.0  # that a thread has to end in, once the process does
ALONE = "{name} reads pages and has no other model beside it: start the app with `--model {name}`."
LESS_CLOSELY = "Memory ran out: looking again, less closely"
WORDS: dict[Phase, str] = {"starting": "Starting", "ready": "ready", "failed": "the model can't be loaded"}


class LocalBackend:
    """Answers with one model. `stream` may be called from any thread; a single worker loads, and takes up one request
    after another: with an engine each goes on in a thread of its own, without one they are answered in turn."""

    def __init__(self, settings: Settings, limits: Limits, *, clock: Clock = time.monotonic) -> None:
        self.settings, self.limits = settings, limits
        self._spec = self._own = zoo.adapted(settings.model, settings.adapter)
        self._ready: Ready | None = None  # the files of `_spec`, once they were looked over
        self._quantize = settings.quantize  # the weights of `_spec`
        self._session: Session | None = None
        self._examined: Examination | None = None
        self._phase: Phase = "starting"
        self._words = WORDS["starting"]
        self._worker = Worker("ovis-worker")
        self._answers, self._fetches = ThreadGroup("ovis-answer"), ThreadGroup("ovis-fetch")
        self._closing = Stop()
        self._failed = FailedLoad()
        self._switch = ModelSwitch(self._closing)
        self._idle = Idle(60 * settings.unload_after, self._nobody_asks, clock)
        atexit.register(self.close)

    @property
    def spec(self) -> ModelSpec:
        """The model that answers, or will once it is loaded."""
        return self._spec

    def status(self) -> Status:
        answering = self._phase == "ready" and (self._worker.busy or self._answers.busy)
        phase: Phase = "answering" if answering else self._phase
        words = "answering" if answering else self._words
        session = self._session  # the worker may take it away meanwhile
        here = (None, "") if session is None else (session.resources, str(session.capabilities))
        change, problem = self._switch.now(), self._switch.problem
        examined = None if session is None else self._examined
        why = self._failed.why if phase == "failed" else ""
        return Status(
            self._spec, phase, words, change, problem, *here, quantize=self._quantize, examined=examined, why=why
        )

    def occupancy(self) -> Occupancy:
        """See `backend.Occupied`."""
        session = self._session  # the worker may take it away meanwhile
        taken = Occupancy() if session is None else session.occupancy
        return replace(taken, device_bytes=bytes_held())

    def warm(self) -> None:
        """Starts loading the model, and returns at once. A failure shows in `status` and in the first answer."""
        self._worker.submit(partial(self._warm, time.monotonic()))

    def _warm(self, asked: float) -> None:
        with suppress(Stopped, UserError):  # the process ends, or it is logged and shown
            self._open(self._report, asked)

    def _nobody_asks(self) -> None:
        """In the clock's thread. What waits or is answered is seen to first."""
        if self._session is not None and not (self._worker.busy or self._answers.busy):
            self._worker.submit(self._put_aside)

    def _put_aside(self) -> None:
        """In the worker, between two answers: gives the model's memory back, unless somebody has asked meanwhile. Who
        asks from now on stands behind this, and has it loaded again."""
        if self._session is None or self._answers.busy or self._switch.pending is not None or not self._idle.over():
            return
        self._enter("unloaded", self._idle.put_aside(self._spec.name))
        self._give_up()
        self._idle.wind()
        log.info("%s was unloaded: nobody has asked for %g min", self._spec.name, self.settings.unload_after)

    def _give_up(self) -> None:
        """Whatever is loaded goes, and its caches with it. Its files are looked over anew before they are loaded again:
        they may be others by then."""
        if self._session is not None:
            self._session.close()
        self._session = self._ready = None
        model_pool.release()

    def _bring_back(self) -> None:
        """For whoever asks something without a session: a question is being written."""
        self._idle.wind()
        if self._phase == "unloaded" and not self._worker.busy:
            self.warm()

    def _open(self, progress: Progress, asked: float = float("inf")) -> Session:
        """The session of the present model, loaded unless it is there, or was tried since it was `asked` for. Raises
        BackendError, and what `progress` raises."""
        if self._session is not None:
            return self._session
        self._failed.check(asked)
        back = self._phase in ("unloaded", "returning")
        self._enter("returning" if back else "loading", f"Loading {self._spec.name}")
        try:
            with self._failed.told(self._spec.name):
                if self._ready is None:
                    placement = self._placement(self._spec, self._quantize)
                    loaded = model_pool.loaded_model(self._spec, placement, progress=progress)
                else:
                    loaded = model_pool.load_ready(self._ready, progress=progress)
                session = Session(loaded, self.settings, self.limits)
        except (UserError, Stopped):
            self._fail()
            raise
        self._spec, self._ready = loaded.spec, Ready(loaded.spec, loaded.placement, loaded.checkpoint)
        self._session, self._examined = session, kept(loaded.checkpoint.files)
        self._idle.wind()  # loading may have taken longer than a model is kept for
        self._enter("ready")
        return session

    def _fail(self) -> None:
        """The next try begins anew: what was looked over may be what is wrong."""
        self._ready = None
        self._enter("failed")

    def _enter(self, phase: Phase, words: str = "") -> None:
        self._phase, self._words = phase, words or WORDS[phase]

    def _report(self, words: str, share: float | None) -> None:
        """Shows how far loading is, to whoever waits for an answer."""
        self._closing.check()
        self._words = words

    # --- changes of models -------------------------------------------------------------------------------------------

    def offers(self) -> list[Offer]:
        freed, present = self._freed(), self._spec
        others = (self._adapted(row) for row in zoo.MODELS if row.id != present.id and not row.alone)
        return [self._offer(row, freed) for row in (present, *others)]

    def offers_on(self, memory: int) -> list[Offer]:
        """See `backend.OffersElsewhere`: in half precision, or quantized as it was asked for here."""
        card = Placement("cuda", torch.bfloat16, self.settings.quantize)
        free = int(memory * self.settings.gpu_memory)
        rows = (row for row in map(self._adapted, zoo.MODELS) if not row.alone)
        return [offered(row, card, available=free) for row in rows]

    def _adapted(self, spec: ModelSpec) -> ModelSpec:
        """The row of a model as it answers here: the one of the start has its adapter whenever it is chosen."""
        return self._own if spec.id == self._own.id else spec

    def _offer(self, spec: ModelSpec, freed: int) -> Offer:
        placement = self._placement(spec, self.settings.quantize)
        still = self.status().phase not in ("answering", "loading", "returning")
        return replace(offered(spec, placement, freed=freed), speed=speed_of(spec, placement, still=still))

    def _placement(self, spec: ModelSpec, quantize: str) -> Placement:
        """How a model is put on this machine. Raises BackendError for a device that isn't there."""
        settings = self.settings
        return Placement.choose(
            spec, device=settings.device, dtype=settings.dtype, quantize=quantize, gpu_memory=settings.gpu_memory
        )

    def _freed(self) -> int:
        """Bytes that the present model gives back when it goes."""
        session = self._session  # the worker may take it away meanwhile
        return model_pool.loaded_bytes() + (0 if session is None else session.bytes)

    def change(self, name: str, quantize: str | None = None) -> None:
        quantize = self.settings.quantize if quantize is None else quantize
        spec = self._adapted(zoo.resolve(name))
        if spec.alone:
            raise BackendError(ALONE.format(name=spec.name))
        self._switch.problem = ""  # of the change before: here is another
        session = self._session  # the worker may take it away meanwhile
        same = spec.id == self._spec.id and quantize == self._quantize and self._phase == "ready"
        if same and (session is None or session.loaded.is_current):  # a folder may have been written anew
            raise BackendError(f"{spec.name} answers already.")
        placement = self._placement(spec, quantize)
        if quantize != "none" and (obstacle := bitsandbytes.obstacle(placement.device)):
            raise BackendError(obstacle)
        memory_fit.refuse_what_cannot_fit(spec, placement, freed=self._freed())
        pending = self._switch.begin(spec)
        try:
            self._fetches.start(partial(self._fetch, pending, placement))
        except RuntimeError:  # no thread begins any more
            self._switch.end(pending, "")
            raise

    def cancel_change(self) -> None:
        self._switch.cancel()

    def _fetch(self, pending: PendingChange, placement: Placement) -> None:
        """In a thread of its own: the present model goes on answering until the new one's files are here, and look as
        if they could be loaded."""
        ready: list[Ready] = []

        def fetch() -> None:
            progress = self._switch.progress(pending)
            ready.append(model_pool.fetch(pending.spec, placement, progress=progress, freed=self._freed))

        problem = self._problem_of(pending.spec, fetch)
        if problem is not None:
            self._switch.end(pending, problem)
            return
        pending.spec = ready[0].spec
        if self._switch.step(pending, "waiting", "Waiting for the running answers"):
            pending.ticket = self._worker.submit(partial(self._exchange, pending, ready[0]))

    def _exchange(self, pending: PendingChange, ready: Ready) -> None:
        """In the worker, between two answers: gives the present model up and loads the new one; if that fails, the
        other way round."""
        while self._answers.busy and self._switch.wanted(pending):
            self._answers.wait(POLL_SECONDS)
        if not self._switch.step(pending, "loading", f"Loading {ready.spec.name}"):
            return
        before, report = (self._spec, self._ready, self._quantize), self._switch.progress(pending)

        def progress(words: str, share: float | None) -> None:
            report(words, share)
            self._words = words

        problem = self._problem_of(
            ready.spec, lambda: self._seat(ready.spec, ready, ready.placement.quantize, progress)
        )
        if problem is not None:
            self._switch.step(pending, "going back", f"Loading {before[0].name} again")
            back = self._problem_of(before[0], lambda: self._seat(*before, progress))
            answers = "" if not problem else f"{before[0].name} answers again."
            problem = " ".join(part for part in (problem, answers if back is None else back) if part)
        self._idle.wind()
        self._switch.end(pending, problem or "")

    def _seat(self, spec: ModelSpec, ready: Ready | None, quantize: str, progress: Progress) -> None:
        """Gives up whatever is loaded, and loads."""
        self._enter("loading", f"Loading {spec.name}")
        self._give_up()
        self._spec, self._ready, self._quantize = spec, ready, quantize
        self._open(progress)

    def _problem_of(self, spec: ModelSpec, work: Callable[[], None]) -> str | None:
        """Does a part of a change. None when that went well, a sentence when not, nothing when it was cancelled."""
        try:
            work()
        except Stopped:
            return ""
        except NotLoaded as error:
            return str(error)
        except Exception as error:  # the edge of a thread: the page must hear of it, and the worker live on
            write_down(error, spec.name)
            return why_not_loaded(error, spec.name)
        return None

    # --- answers -----------------------------------------------------------------------------------------------------

    def stream(self, request: Request) -> Iterator[Event]:
        """Events of one answer; see `Backend`. Raises BackendError for bad settings before anything is queued."""
        started = time.monotonic()

        def answer(session: Session, asked: Request, streamer: TokenStreamer, stop: Stop, begin: Begin) -> Done:
            def attempt(asked: Request) -> Done:
                prepared = session.prepare(asked, streamer, stop)
                if asked.haste is not None and prepared.budget is not None:
                    asked.haste.offer(prepared.budget.budget, prepared.budget.end_now)
                return session.answer(prepared, streamer, stop, begin=begin, started=started)

            def may_begin_again() -> bool:
                session.evict()
                streamer.say(LESS_CLOSELY)
                return streamer.count == 0  # what was said stays said

            return less_memory.answered(attempt, asked, self._spec, self.limits, may_begin_again=may_begin_again)

        return self._events(request, answer)

    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        """See `backend.Sees`."""
        found: list[Sight] = []

        def look(session: Session, asked: Request, streamer: TokenStreamer, stop: Stop, begin: Begin) -> Done:
            found.append(session.sees(asked, place, streamer, stop))
            return Done("end", Stats())

        with closing(self._events(request, look)) as events:  # type: ignore[type-var]
            yield from (event for event in events if isinstance(event, Waiting))
        yield found[0]

    def _events(self, request: Request, answer: Work) -> Iterator[Event]:
        """Events of what `answer` does once it is this request's turn, the last one its own. Raises BackendError."""
        checked(request, self._spec, self.limits)
        one = OneAnswer(request.id, Stop(self._closing))
        self._idle.wind()
        ticket = self._worker.submit(partial(self._work, request, answer, one, time.monotonic()))
        if self._closing.is_set():  # nobody may be there any more to do it
            raise BackendError(CLOSED)
        yield from one.events(lambda: self._waits_for(ticket))

    def count(self, request: Request) -> int:
        """Tokens of a request's prompt; see `backend.Counts`. Raises BackendError, and MediaError."""
        self._bring_back()
        session = self._session  # the worker may take it away meanwhile
        if session is None:
            raise BackendError(f"{self._spec.name} isn't loaded yet: try again in a moment.")
        return session.count(checked(request, self._spec, self.limits), Stop(self._closing))

    def weigh(self, request: Request) -> Weight | None:
        """See `backend.Weighs`; None while the model isn't loaded. Whoever writes a question has it loaded again."""
        self._bring_back()
        session = self._session  # the worker may take it away meanwhile
        if session is None:
            return None
        return session.weigh(checked(request, self._spec, self.limits), Stop(self._closing))

    def _waits_for(self, ticket: int) -> str:
        """What stands before a question's own work; nothing once that has begun."""
        if self._phase == "unloaded":
            return f"Loading {self._spec.name}"
        if self._phase != "ready":
            return self._words
        ahead, pending = self._worker.ahead(ticket), self._switch.pending
        if ahead and pending is not None and 0 < pending.ticket < ticket:
            return f"Waiting for {pending.spec.name}"
        return f"Waiting for {ahead} other question{'s' if ahead > 1 else ''}" if ahead else ""

    def close(self) -> None:
        """Ends what is running and what waits; whoever asks later is refused. Called at the end of the process at the
        latest."""
        self._closing.set()
        self._idle.close()
        self._fetches.wait(CLOSE_SECONDS)  # a download removes what it has half written
        self._worker.close()
        self._answers.wait(CLOSE_SECONDS)
        if self._session is not None:
            self._session.close()
        self._session = None

    def _work(self, request: Request, answer: Work, one: OneAnswer, asked: float) -> None:
        """In the worker: loads if need be, and answers; or leaves that to a thread of its own, so that nobody waits for
        somebody else's picture."""
        begin = partial(one.begin, self.settings.deadline)  # once the work does, and anew once it is the answer's turn

        def load_and_answer() -> None:
            one.stop.check()
            session = self._open(self._report, asked)
            begin()
            if session.at_once:
                self._answers.start(partial(self._made, one, partial(work, session), session.evict))
            else:
                work(session)

        def work(session: Session) -> None:
            now = checked(request, self._spec, self.limits)  # by the model that answers: it may have changed
            one.end(answer(session, now, one.streamer, one.stop, begin))

        self._made(one, load_and_answer, self._evict)

    def _made(self, one: OneAnswer, work: Callable[[], None], clean: Callable[[], None]) -> None:
        one.made(work, clean)
        self._idle.wind()

    def _evict(self) -> None:
        if self._session is not None:
            self._session.evict()
