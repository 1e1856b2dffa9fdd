"""One answer in a process that was forked to have a GPU for the length of it.

Plans the memory, makes the pool and drives the engine for this one question; nothing is kept for the next. Two threads:
one computes, the other hands its events on, so that these never wait for a long step. Refuses to know who forks.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psutil
import torch

from ovis_app.backends.gpu_time import Amount, Took
from ovis_app.backends.local import gpu_placed
from ovis_app.backends.local.gpu_placed import Placed
from ovis_app.backends.local.gpu_request import GpuCall, Work
from ovis_app.backends.local.prompt_builder import PreparedRequest
from ovis_app.backends.local.session import Session
from ovis_app.engine.answer import out_of_memory
from ovis_app.engine.streamer import Failure, TokenStreamer
from ovis_app.errors import FAILED, OUT_OF_MEMORY, RequestError, UserError
from ovis_app.generation import Event
from ovis_app.request_id import NO_ID
from ovis_app.stop import Stop, Stopped

log = logging.getLogger(__name__)

LAST_SECONDS = 0.5  # of the time asked for, in which an answer that was stopped still comes back
JOIN_SECONDS = 10.0  # that a process which answered waits for its last step
OVER = (
    "The GPU time that this answer was given is over: ask the model to go on, or lower max new tokens, frames or the "
    "thinking budget."
)


@dataclass(frozen=True)
class Report:
    """What an answer took: comes once it is over, behind its last event or its failure."""

    amount: Amount
    took: Took
    ran_out: bool = False


GpuEvent = Event | Failure | Report
_fresh = True  # whether nothing was answered in this process; each forked one has its own


def answer(call: GpuCall) -> Iterator[GpuEvent]:
    """In a forked process: events of one answer, at least every 0.1 s, then a Report. Closing it ends the work within
    a step. Fails with a Failure, not by raising."""
    global _fresh
    torch.set_num_threads(1)  # a thread that was forked waits for ever for those that it computed with before
    age = max(time.time() - psutil.Process(os.getpid()).create_time(), 0.0) if _fresh else None
    _fresh = False
    streamer, stop = TokenStreamer(), Stop()
    end = time.monotonic() + call.seconds - (age or 0.0) - LAST_SECONDS
    answering = Answering(gpu_placed.here(), streamer, stop, end)
    thread = threading.Thread(target=answering.run, args=(call.work,), name="ovis-answer", daemon=True)
    thread.start()
    try:
        try:
            yield from streamer
        except UserError as error:
            yield Failure(str(error), isinstance(error, RequestError))
        yield answering.report(age)
    finally:
        stop.set()
        thread.join(JOIN_SECONDS)


class Answering:
    """One answer under way."""

    def __init__(self, placed: Placed, streamer: TokenStreamer, stop: Stop, end: float) -> None:
        """`end` is the time.monotonic() at which the GPU has to be given back."""
        self._placed, self._streamer, self._stop, self._end = placed, streamer, stop, end
        self._began = self._opened = time.monotonic()
        self._amount: Amount | None = None
        self._ran_out = False
        self._request_id = NO_ID

    def run(self, work: bytes) -> None:
        """The edge of the thread: whatever happens, the reader hears an end."""
        self._stop.deadline, refused = self._end, False
        try:
            self._answer(pickle.loads(work))
            return
        except Stopped:
            self._ran_out = not self._stop.wanted_no_more()
            failed = OVER
        except UserError as error:
            log.info("refused (request %s): %s", self._request_id, error, exc_info=error.__cause__)
            failed, refused = str(error), isinstance(error, RequestError)
        except BaseException as error:  # what drivers and kernels raise is of many kinds
            failed = OUT_OF_MEMORY if out_of_memory(error) else FAILED
            log.exception("generation failed (request %s)", self._request_id)
        self._streamer.fail(failed, refused=refused)

    def _answer(self, work: Work) -> None:
        placed, stop, streamer = self._placed, self._stop, self._streamer
        self._amount, self._request_id = work.amount, work.prepared.id
        session = Session(placed.loaded, placed.settings, placed.limits, thread=False, once=True)
        self._opened = time.monotonic()
        try:
            prepared = self._encoded(work)

            def begin() -> None:
                stop.deadline = self._end

            done = session.answer(prepared, streamer, stop, begin=begin, started=work.started)
        finally:
            session.close()
        if done.finish == "stopped" and not stop.wanted_no_more():
            raise Stopped
        streamer.done(done)

    def _encoded(self, work: Work) -> PreparedRequest:
        """The request with its visual embeddings. Raises Stopped."""
        if not work.order:
            return work.prepared
        self._streamer.say("Looking at what is attached")
        with torch.inference_mode():
            parts = self._placed.loaded.model.encode_many(work.pixels, stop=self._stop)
            visual = torch.cat([parts[number] for number in work.order])
        return replace(work.prepared, prompt=replace(work.prepared.prompt, visual=visual))

    def report(self, age: float | None) -> Report:
        """What it took, as far as it came; `age` is of the process when the answer began, where it is new."""
        streamer, asked = self._streamer, self._amount or Amount(0, 0, 0)
        first, last = streamer.first_time, streamer.last_time
        took = Took(
            begin=None if age is None else age + self._opened - self._began,
            prefill=None if first is None else first - self._opened,
            decode=None if first is None or last is None else last - first,
        )
        return Report(replace(asked, new_tokens=max(streamer.count - 1, 0)), took, self._ran_out)
