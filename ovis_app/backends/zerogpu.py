"""A model that has a GPU for the length of an answer only: a Space on ZeroGPU.

The model is loaded where this backend is made, before the page opens. For each answer the package `spaces` forks a
process which has a GPU; what needs none is done here, so that a question that is refused costs nobody's quota. Knows
the decorator that forks; refuses to know tensors, and what a Space is.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import copy_context
from functools import partial
from typing import Any

from ovis_app.backend import Offer, Status, Weight
from ovis_app.backends.gpu_refusals import UNKNOWN, sentence_of, taken_away
from ovis_app.backends.local import gpu_answer, gpu_placed, gpu_request
from ovis_app.backends.local.gpu_answer import GpuEvent, Report
from ovis_app.backends.local.gpu_request import GpuCall
from ovis_app.backends.local.worker import ThreadGroup
from ovis_app.backends.sights import outlined
from ovis_app.backends.validation import checked
from ovis_app.engine.streamer import Failure, TokenStreamer
from ovis_app.errors import FAILED, BackendError, MediaError, RequestError, UserError
from ovis_app.generation import Event, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.sight import Sight
from ovis_app.stop import Stop, Stopped

log = logging.getLogger(__name__)

WAITING = "Waiting for a GPU"
GRACE_SECONDS = 15.0  # after the time that was asked for, in which an answer may still come to its end
CHOSEN = "On ZeroGPU the model is chosen before the start: the Space's owner sets OVIS_MODEL in its settings."

Decorator = Callable[..., Any]  # spaces.GPU


class ZeroGpuBackend:
    """Answers with one model, each question in a forked process. `stream` may be called from any thread."""

    def __init__(self, settings: Settings, limits: Limits, gpu: Decorator) -> None:
        """Loads the model: to be made on the main thread, on which `spaces` catches what goes to the GPU. Raises
        BackendError."""
        self._limits, self._deadline = limits, math.ceil(settings.deadline)
        placed = gpu_placed.place(settings, limits)
        self._spec, self._here, self._time = placed.loaded.spec, (placed.resources, placed.engine), placed.time
        self._answer = gpu(duration=seconds_of, size=settings.zerogpu_size)(gpu_answer.answer)
        self._answers = ThreadGroup("ovis-answer")
        self._closing = Stop()

    def warm(self) -> None:
        """The model is there before the page."""

    def status(self) -> Status:
        phase = "answering" if self._answers.busy else "ready"
        resources, engine = self._here
        return Status(self._spec, phase, phase, resources=resources, engine=engine)  # type: ignore[arg-type]

    def offers(self) -> list[Offer]:
        return []

    def change(self, name: str, quantize: str | None = None) -> None:
        raise BackendError(CHOSEN)

    def cancel_change(self) -> None:
        """There never is one."""

    def close(self) -> None:
        self._closing.set()
        self._answers.wait(10.0)

    def count(self, request: Request) -> int:
        """Tokens of a request's prompt; see `backend.Counts`. Raises BackendError, and MediaError."""
        return gpu_request.prompt_tokens(checked(request, self._spec, self._limits), stop=Stop(self._closing))

    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        """See `backend.Sees`: how a picture is divided. What stands in it would take a GPU, of somebody's quota."""
        yield outlined(request, place, self._spec, self._limits)

    def weigh(self, request: Request) -> Weight:
        """See `backend.Weighs`."""
        return gpu_request.weight(checked(request, self._spec, self._limits), stop=Stop(self._closing))

    def stream(self, request: Request) -> Iterator[Event]:
        asked = checked(request, self._spec, self._limits)
        stop, streamer = Stop(self._closing), TokenStreamer()
        work = partial(self._edge, asked, streamer, stop, time.monotonic())
        # In this context, by which `spaces` knows who asks.
        self._answers.start(partial(copy_context().run, work))
        try:
            yield from streamer
        finally:
            stop.set()  # heard at the next event, at most 0.1 s later: nobody waits for a process to end

    def _edge(self, request: Request, streamer: TokenStreamer, stop: Stop, started: float) -> None:
        """The edge of a thread: whatever happens, the reader hears an end."""
        try:
            self._relay(request, streamer, stop, started)
        except Stopped:
            streamer.fail(UNKNOWN)  # read by nobody
        except UserError as error:
            log.info("refused (request %s): %s", request.id, error, exc_info=error.__cause__)
            streamer.fail(str(error), refused=isinstance(error, RequestError | MediaError))
        except BaseException:
            log.exception("an answer failed (request %s)", request.id)
            streamer.fail(FAILED)

    def _relay(self, request: Request, streamer: TokenStreamer, stop: Stop, started: float) -> None:
        """Prepares a question, and hands on what comes of it. Raises UserError, and Stopped."""
        work = gpu_request.prepared_work(request, note=streamer.say, stop=stop, started=started)
        call = GpuCall(min(self._time.seconds(work.amount), self._deadline), gpu_request.packed(work))
        stop.check()
        streamer.say(WAITING)
        try:
            with closing(self._answer(call)) as events:
                for event in events:
                    if not isinstance(event, Report):  # which comes when the reader has left with his answer
                        stop.check()
                    if streamer.deadline == float("inf"):
                        streamer.deadline = time.monotonic() + call.seconds + GRACE_SECONDS
                    self._take(event, streamer)
        except (UserError, Stopped):
            raise
        except Exception as error:  # what `spaces` raises is Gradio's, or a server's
            if taken_away(error):
                self._time.ran_out()
            raise BackendError(sentence_of(error)) from error

    def _take(self, event: GpuEvent, streamer: TokenStreamer) -> None:
        if isinstance(event, Report):
            self._time.took(event.amount, event.took)
            if event.ran_out and event.took.prefill is None:
                self._time.ran_out()
        elif isinstance(event, Failure):
            streamer.fail(event.sentence, refused=event.refused)
        else:
            streamer.hand_on(event)


def seconds_of(call: GpuCall) -> int:
    """What `spaces` asks for: it calls this with what the answer is called with."""
    return call.seconds
