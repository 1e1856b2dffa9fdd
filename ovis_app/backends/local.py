"""The model in this process: loaded once, shared by every tab, answering one question after another.

Knows how a request becomes a prompt and how long things took; the model itself is in models/, generation in engine/.
"""

from __future__ import annotations

import atexit
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ovis_app import zoo
from ovis_app.backends.checking import checked
from ovis_app.backends.loading import Loaded, loaded_model
from ovis_app.backends.reading import Halted, Read, Reader
from ovis_app.conversation import Stats
from ovis_app.engine import solo
from ovis_app.engine.budget import ThinkingBudget
from ovis_app.engine.prefix import PrefixStore
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.engine.worker import Worker
from ovis_app.generation import BackendError, Done, Event, GenerationSettings, Request
from ovis_app.media import Limits, MediaCancelled, MediaError
from ovis_app.models.question import chat_format
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

ANSWER_ROOM = 16  # tokens kept for the answer after a thought whose budget was spent
TOO_LONG = "The answer took too long and was stopped: ask for less, or raise the deadline."
OUT_OF_MEMORY = "The model ran out of memory: lower max pixels or frames, or start a new chat, and try again."


class LocalBackend:
    """Answers with one model. `stream` may be called from any thread; a single worker does the work in turn."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self.settings, self.limits = settings, limits
        self.spec = zoo.resolve(settings.model)
        self._worker = Worker("ovis-worker")
        self._reader = Reader(self.spec, limits, settings.visual_cache)
        self._prefixes = PrefixStore(limit=settings.prefix_cache)
        self._state = "starting"
        self._closing = threading.Event()
        atexit.register(self.close)

    def models(self) -> list[ModelSpec]:
        return [self.spec]

    def status(self) -> str:
        return "answering" if self._state == "ready" and self._worker.busy else self._state

    def warm(self) -> None:
        """Starts loading the model, and returns at once. A failure shows in `status` and in the first answer."""
        self._worker.submit(self._warm)

    def _warm(self) -> None:
        try:
            self._model()
        except BackendError as error:
            log.warning("the model can't be loaded: %s", error, exc_info=error.__cause__)

    def _model(self) -> Loaded:
        if self._state != "ready":
            self._state = f"Loading {self.spec.name}"
        try:
            model = loaded_model(
                self.spec, device=self.settings.device, dtype=self.settings.dtype, progress=self._loading
            )
        except BaseException:
            self._state = "the model can't be loaded"
            raise
        if model.model.config.family != self.spec.family:  # known only now: the name told nothing
            row = zoo.FAMILY_ROWS[model.model.config.family]
            self.spec = replace(row, id=self.spec.id, name=self.spec.name, about=self.spec.about)
            self._reader.spec = self.spec
        self._state = "ready"
        return model

    def _loading(self, note: str) -> None:
        """Shows how far loading is, on the page's pill and to whoever waits for an answer."""
        self._state = note

    def stream(self, request: Request) -> Iterator[Event]:
        """Events of one answer; see `Backend`. Raises BackendError for bad settings before anything is queued."""
        if request.model and zoo.resolve(request.model).id != self.spec.id:
            raise BackendError(f"This server answers with {self.spec.name} only.")
        request = checked(request, self.spec, self.limits)
        started = time.monotonic()
        stop = threading.Event()
        streamer = TokenStreamer(deadline=started + self.settings.deadline + 1.0)
        ticket = self._worker.submit(partial(self._work, request, streamer, stop, started))
        try:
            for event in streamer:
                ahead = self._worker.ahead(ticket)
                if ahead or self._state != "ready":  # the clock runs once the work begins
                    streamer.deadline = time.monotonic() + self.settings.deadline + 1.0
                if self._state != "ready":
                    streamer.note = self._state
                elif ahead:
                    streamer.note = f"Waiting for {ahead} other question{'s' if ahead > 1 else ''}"
                yield event
        finally:
            stop.set()

    def close(self) -> None:
        """Ends what is running and what waits. Called at the end of the process at the latest."""
        self._closing.set()
        self._worker.close()

    # --- in the worker -----------------------------------------------------------------------------------------------

    def _work(self, request: Request, streamer: TokenStreamer, stop: threading.Event, started: float) -> None:
        """The edge of the thread: whatever happens, the reader hears an end."""
        failed = ""
        try:
            if not stop.is_set() and not self._closing.is_set():
                self._answer(request, streamer, stop, started)
        except (Halted, MediaCancelled):
            streamer.fail(TOO_LONG)  # read only if it was the deadline, not a reader who left
        except (BackendError, MediaError) as error:
            log.info("refused: %s", error, exc_info=error.__cause__)
            streamer.fail(str(error))
        except torch.OutOfMemoryError:
            log.exception("out of memory")
            failed = OUT_OF_MEMORY
        except BaseException:
            log.exception("generation failed")
            failed = "The model failed while answering: try again, or start a new chat."
        if failed:  # here the exception is gone, and with it what its traceback held
            self._forget()
            streamer.fail(failed)

    def _forget(self) -> None:
        """Gives back all memory that isn't the model's own."""
        self._prefixes.clear()
        self._reader.cache.clear()
        free_memory()

    def _answer(self, request: Request, streamer: TokenStreamer, stop: threading.Event, started: float) -> None:
        loaded = self._model()
        over = time.monotonic() + self.settings.deadline

        def halted() -> bool:
            return stop.is_set() or self._closing.is_set() or time.monotonic() > over

        settings = request.settings
        read = self._reader.read(loaded, request.conversation, settings, note=streamer.say, stop=halted)
        if halted():
            raise Halted
        settings = fitted(settings, self.spec, len(read.ids), loaded.model.config.max_context)
        streamer.note = "Reading the conversation"
        ids = self._generate(loaded, read, settings, streamer, halted)
        ended = len(ids) > 0 and int(ids[-1]) in loaded.ending.eos
        if time.monotonic() > over and not ended:
            raise BackendError(TOO_LONG)
        stats = replace(
            measured(streamer, started),
            prompt_tokens=len(read.ids),
            visual_tokens=read.visual_tokens,
            frame_times=read.frame_times,
        )
        streamer.done(Done("end" if ended else "stopped" if stop.is_set() else "length", stats))

    def _generate(
        self,
        loaded: Loaded,
        read: Read,
        settings: GenerationSettings,
        streamer: TokenStreamer,
        halted: Callable[[], bool],
    ) -> Tensor:
        """New ids, with what recent conversations share of the prompt taken from memory."""
        controls = loaded.prompts.controls
        streamer.begin(
            loaded.decoder,
            thinking=settings.thinking,
            think_start=controls.get("<think>"),
            think_end=controls.get("</think>"),
        )
        cache, _ = self._prefixes.take(read.keys, loaded.model.config.llm_config)
        ids = solo.generate(
            loaded.model,
            solo.embeddings(loaded.model, read.ids, read.visual),
            settings,
            ending=loaded.ending,
            mask=read.mask,
            cache=cache,
            budget=budget_of(loaded, settings) if settings.thinking else None,
            streamer=streamer,
            stop=halted,
        )
        self._prefixes.keep((*read.keys, *ids.tolist()), cache)
        return ids


def fitted(settings: GenerationSettings, spec: ModelSpec, prompt_tokens: int, context: int) -> GenerationSettings:
    """The settings with as many new tokens as the context has room for. Raises BackendError when it has none."""
    context = min(context, spec.context)
    room = context - prompt_tokens
    if room < 1:
        raise BackendError(
            f"This conversation is {prompt_tokens:,} tokens long, {1 - room:,} more than {spec.name} can read with an "
            "answer: lower max pixels, attach less, or start a new chat."
        )
    return replace(settings, max_new_tokens=min(settings.max_new_tokens, room))


def budget_of(loaded: Loaded, settings: GenerationSettings) -> ThinkingBudget | None:
    """The budget's rule, lowered where the early-stop text and an answer would not fit behind it."""
    if settings.thinking_budget is None:
        return None
    chat = chat_format(loaded.model.config)
    early_stop = loaded.prompts.trusted(chat.early_stop)
    most = settings.max_new_tokens - len(early_stop) - ANSWER_ROOM
    if most < 1:
        raise BackendError(
            f"Thinking needs room for {len(early_stop) + ANSWER_ROOM + 64} new tokens and there is room for "
            f"{settings.max_new_tokens}: raise max new tokens, turn thinking off, or start a new chat."
        )
    return ThinkingBudget(
        budget=min(settings.thinking_budget, most),
        early_stop=early_stop,
        think_end=loaded.prompts.control(chat.think_end),
    )


def measured(streamer: TokenStreamer, started: float) -> Stats:
    """The figures that the streamer's clock gives."""
    first, last = streamer.first_time, streamer.last_time
    if first is None or last is None:
        return Stats()
    thought = streamer.thought_count
    return Stats(
        answer_tokens=streamer.count,
        thinking_tokens=thought,
        first_token_seconds=first - started,
        thinking_seconds=(streamer.answer_time or last) - first if thought else None,
        tokens_per_second=(streamer.count - 1) / (last - first) if last > first else None,
    )


def free_memory() -> None:
    """Gives back what a failed answer held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
