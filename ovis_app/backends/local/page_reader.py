"""OvisOCR2 in this process: one page a question, read by transformers' own class for it, one question after another.

Knows threads and how a page is asked about; what is loaded is checkpoints/page_reader.py's. It is alone: models aren't
changed beside it.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from ovis_app import zoo
from ovis_app.backend import Offer, Phase, Status
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.failed_load import FailedLoad
from ovis_app.backends.local.idle import Clock, Idle
from ovis_app.backends.local.one_answer import OneAnswer
from ovis_app.backends.local.session import measured
from ovis_app.backends.local.worker import Worker
from ovis_app.backends.validation import checked
from ovis_app.checkpoints import page_reader
from ovis_app.checkpoints.hub import folder_of
from ovis_app.checkpoints.memory_fit import refuse_what_cannot_fit
from ovis_app.checkpoints.page_reader import PageReader
from ovis_app.checkpoints.placement import Placement
from ovis_app.conversation import Detail, Media, Seen
from ovis_app.engine.plain import StopsGenerate
from ovis_app.engine.sampling import Draw, Drawing
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.errors import CLOSED, BackendError, UserError, not_fitting
from ovis_app.generation import Done, Event, Request
from ovis_app.limits import Limits
from ovis_app.media import open_image
from ovis_app.models.devices import few_threads
from ovis_app.models.page_prompt import Sheet, encode
from ovis_app.settings import Settings
from ovis_app.stop import Stop, Stopped

log = logging.getLogger(__name__)

ALONE = "{name} reads pages and nothing else here: to change models, start with another --model."
AS_RELEASED = "{name} is used as it was released: leave --quantize and --adapter out."


class PageReaderBackend:
    """Answers with the one model that `settings` name. Raises BackendError where it is to be another than released."""

    def __init__(self, settings: Settings, limits: Limits, *, clock: Clock = time.monotonic) -> None:
        self.settings, self.limits = settings, limits
        self.spec = zoo.adapted(settings.model, settings.adapter)
        if settings.quantize != "none" or settings.adapter:
            raise BackendError(AS_RELEASED.format(name=self.spec.name))
        self._reader: PageReader | None = None
        self._phase: Phase = "starting"
        self._words = "Starting"
        self._failed = FailedLoad()
        self._worker = Worker("ovis-reader")
        self._closing = Stop()
        self._idle = Idle(60 * settings.unload_after, self._nobody_asks, clock)
        atexit.register(self.close)

    def warm(self) -> None:
        self._worker.submit(partial(self._warm, time.monotonic()))

    def status(self) -> Status:
        if self._phase == "ready" and self._worker.busy:
            return Status(self.spec, "answering", "answering")
        why = self._failed.why if self._phase == "failed" else ""
        return Status(self.spec, self._phase, self._words, why=why)

    def offers(self) -> list[Offer]:
        return []

    def change(self, name: str, quantize: str | None = None) -> None:
        raise BackendError(ALONE.format(name=self.spec.name))

    def cancel_change(self) -> None:
        """Nothing changes."""

    def close(self) -> None:
        self._closing.set()
        self._idle.close()
        self._worker.close()
        self._reader = None

    def stream(self, request: Request) -> Iterator[Event]:
        asked = checked(request, self.spec, self.limits)
        started, one = time.monotonic(), OneAnswer(request.id, Stop(self._closing))
        self._idle.wind()
        ticket = self._worker.submit(partial(self._work, asked, one, started))
        if self._closing.is_set():  # nobody may be there any more to do it
            raise BackendError(CLOSED)
        yield from one.events(lambda: self._waits_for(ticket))

    def _waits_for(self, ticket: int) -> str:
        """What stands before a question's own work; nothing once that has begun."""
        ahead = self._worker.ahead(ticket)
        if ahead:
            return f"Waiting for {ahead} other question{'s' if ahead > 1 else ''}"
        if self._phase == "unloaded":
            return f"Loading {self.spec.name}"
        return "" if self._phase == "ready" else self._words

    def _nobody_asks(self) -> None:
        """In the clock's thread."""
        if self._reader is not None and not self._worker.busy:
            self._worker.submit(self._put_aside)

    # --- in the worker -----------------------------------------------------------------------------------------------

    def _warm(self, asked: float) -> None:
        with suppress(Stopped, UserError):  # the process ends, or it is logged and shown
            self._open(asked)

    def _put_aside(self) -> None:
        """Gives the model's memory back, unless somebody has asked meanwhile. Who asks later stands behind this."""
        if self._reader is not None and self._idle.over():
            self._enter("unloaded", self._idle.put_aside(self.spec.name))
            self._reader = None
            model_pool.release()
            log.info("%s was unloaded: nobody has asked for %g min", self.spec.name, self.settings.unload_after)

    def _open(self, asked: float) -> PageReader:
        """The model, fetched and loaded unless it is there, or was tried since it was `asked` for. Raises BackendError,
        and Stopped where the process ends."""
        if self._reader is None:
            self._failed.check(asked)
            back = self._phase in ("unloaded", "returning")
            self._enter("returning" if back else "loading", f"Loading {self.spec.name}")
            try:
                with self._failed.told(self.spec.name):
                    self._reader = self._loaded()
                self._idle.wind()  # loading may have taken longer than a model is kept for
            finally:
                self._enter(*(("failed", "the model can't be loaded") if self._reader is None else ("ready", "ready")))
        return self._reader

    def _loaded(self) -> PageReader:
        settings = self.settings
        placement = Placement.choose(
            self.spec, device=settings.device, dtype=settings.dtype, gpu_memory=settings.gpu_memory
        )
        refuse_what_cannot_fit(self.spec, placement)
        folder = folder_of(self.spec, self._report)
        self._words = f"Loading {self.spec.name}"
        return page_reader.load(folder, self.spec.name, placement)

    def _report(self, words: str, share: float | None) -> None:
        self._closing.check()
        self._words = words

    def _enter(self, phase: Phase, words: str) -> None:
        self._phase, self._words = phase, words

    def _work(self, request: Request, one: OneAnswer, started: float) -> None:
        def read() -> None:
            one.stop.check()
            reader = self._open(started)
            one.begin(self.settings.deadline)
            one.end(self._answer(reader, request, one.streamer, one.stop, started))

        one.made(read)
        self._idle.wind()

    def _answer(
        self, reader: PageReader, request: Request, streamer: TokenStreamer, stop: Stop, started: float
    ) -> Done:
        """Raises BackendError, MediaError and Stopped."""
        streamer.say("Reading the page")
        sheets, seen, begun = list[Sheet](), list[Seen](), request.conversation.begun
        turns = [("system", request.settings.system, ())] if request.settings.system else []
        for message in request.conversation.messages if begun is None else request.conversation.messages[:-1]:
            stop.check()
            own = [self._sheet(reader, media, seen) for media in message.media]
            sheets += own
            turns.append((message.role, message.text, own))  # type: ignore[arg-type]
        ids = encode(reader.prompts, turns)
        if begun is not None:
            ids = torch.cat([ids, torch.tensor([reader.prompts.encode((begun.text,))], dtype=torch.long)], 1)
        context = min(reader.context, self.spec.context)
        room = context - ids.shape[1]
        if room < 1:
            raise not_fitting(self.spec.name, ids.shape[1], context)
        streamer.begin(reader.prompts.with_controls, stop=request.settings.stop, begun="answer" if begun else "nothing")
        new = generate(reader, ids, sheets, request, most=min(request.settings.max_new_tokens, room),
                       streamer=streamer, stop=lambda: stop.is_set() or streamer.enough)  # fmt: skip
        ended = streamer.enough or (len(new) > 0 and int(new[-1]) in reader.ending.eos)
        stats = replace(
            measured(streamer, started), prompt_tokens=ids.shape[1], seen=tuple(seen), engine="plain",
            visual_tokens=sum(sheet.tokens for sheet in sheets),
        )  # fmt: skip
        return Done("end" if ended else "stopped" if stop.is_set() else "length", stats)

    def _sheet(self, reader: PageReader, media: Media, seen: list[Seen]) -> Sheet:
        """A picture's patches; how it is seen goes to `seen`. Raises MediaError."""
        detail: Detail = self.spec.detail(media, several=False)
        picture = open_image(media, self.limits)
        sheet = reader.tower.sheet(
            picture, min_pixels=detail.min_pixels or 1, max_pixels=detail.max_pixels or 1
        )  # fmt: skip
        seen.append(Seen(media.label, *sheet.size, *picture.size, media.pictures, None, media.missing))
        return sheet


class _Behind(BaseStreamer):
    """Puts into a streamer what comes behind the prompt, which `generate` puts first."""

    def __init__(self, streamer: BaseStreamer) -> None:
        self.streamer, self.begun = streamer, False

    def put(self, value: Tensor) -> None:
        if self.begun:
            self.streamer.put(value)
        self.begun = True

    def end(self) -> None:
        self.streamer.end()


@torch.inference_mode()
def generate(
    reader: PageReader, ids: Tensor, sheets: list[Sheet], request: Request, *, most: int, streamer: BaseStreamer,
    stop: object,
) -> Tensor:  # fmt: skip
    """New ids [tokens] behind a prompt's [1, tokens], put into `streamer` as they come."""
    model, settings = reader.model, request.settings
    device = model.device
    draw = Draw.of(settings)
    own: list[LogitsProcessor] = []
    if settings.repetition_penalty != 1:
        own.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty, prompt_ignore_length=ids.shape[1]))
    if not draw.greedy:
        own.append(Drawing(draw))
    pictures = {}
    if sheets:
        pictures = {
            "pixel_values": torch.cat([sheet.rows for sheet in sheets]).to(device, model.dtype),
            "image_grid_thw": torch.tensor([sheet.grid for sheet in sheets], device=device),
            "mm_token_type_ids": (ids == model.config.image_token_id).int().to(device),
        }
    with few_threads(model):
        found = model.generate(
            input_ids=ids.to(device),
            attention_mask=torch.ones_like(ids).to(device),
            generation_config=GenerationConfig(
                do_sample=False,  # `own` draws
                max_new_tokens=most,
                eos_token_id=list(reader.ending.eos),
                pad_token_id=reader.ending.pad,
            ),
            logits_processor=LogitsProcessorList(own),
            stopping_criteria=StoppingCriteriaList([StopsGenerate(stop, ids.shape[1] + most, None)]),  # type: ignore[arg-type]
            streamer=_Behind(streamer),
            **pictures,
        )
    return found[0, ids.shape[1] :]  # type: ignore[no-any-return]
