"""How one model answers one question: read, generate, measure. All that belongs to the model is here, and goes with it.

Runs in whatever thread calls it; refuses to know queues, and that there are other models. Alone or together with others
is decided here, request by request.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ovis_app.backends.local.media_encoder import Halted
from ovis_app.backends.local.model_pool import Loaded, loaded_model
from ovis_app.backends.local.prompt_builder import Read, Reader
from ovis_app.backends.local.room import budget_of, fitted
from ovis_app.checkpoints.hub import Progress
from ovis_app.conversation import Conversation, Stats
from ovis_app.engine import solo
from ovis_app.engine.batched import BatchedEngine, unfit
from ovis_app.engine.decode import Decoder, warm_up
from ovis_app.engine.prefix import PrefixStore
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import BackendError, Done, GenerationSettings, Request
from ovis_app.media import Limits
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

PATIENCE = 0.1  # seconds between two questions whether a waiting answer is still wanted
DROP_ROOM = 256  # new tokens that must fit once old turns are dropped to make room
Halt = Callable[[], bool]


@dataclass(frozen=True)
class Question:
    """A request that was read: its prompt, and settings that fit behind it."""

    read: Read
    settings: GenerationSettings
    budget: ThinkingBudget | None
    dropped: int  # of the oldest questions, left out to make room
    many: bool  # whether the engine can answer it together with others


class Answerer:
    """One model with what it remembers of pictures and conversations, and its engines. One question is read at a time;
    where `at_once` is true several may be answered at a time, from any thread."""

    def __init__(self, spec: ModelSpec, settings: Settings, limits: Limits) -> None:
        self.spec, self.settings = spec, settings
        self._reader = Reader(spec, limits, settings.visual_cache)
        self._prefixes = PrefixStore(limit=settings.prefix_cache)
        self._ready: Loaded | None = None  # that the engines are for
        self._batched: BatchedEngine | None = None
        self._decoder: Decoder | None = None
        self._live = 0  # answers under way
        self._places = threading.Lock()  # of `_live`
        self._alone = threading.Lock()  # held by the one answer that solo gives

    @property
    def at_once(self) -> bool:
        """Whether answers may be given at once."""
        return self._batched is not None

    # --- the model and its engines -----------------------------------------------------------------------------------

    def load(self, progress: Progress) -> Loaded:
        """The model with its engines, loaded unless it is there. Raises BackendError, and what `progress` raises."""
        settings = self.settings
        loaded = loaded_model(
            self.spec, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, progress=progress
        )
        if self._ready is not loaded:
            self.spec = self._reader.looker.spec = loaded.spec  # the name may have told little
            self._prepare(loaded, progress)
        return loaded

    def _prepare(self, loaded: Loaded, progress: Progress) -> None:
        """Everything that would be on the first user's time."""

        def told(done: int, total: int) -> None:
            progress(f"Preparing {self.spec.name}", done / total)

        if self.settings.engine == "plain":
            self._ready = loaded
            return
        context = min(loaded.model.config.max_context, self.spec.context)
        self._decoder = warm_up(loaded.model, context=context, progress=told)
        wanted = self.settings.engine
        if wanted == "batched" or (wanted == "auto" and loaded.model.device.type == "cuda"):
            reason = unfit(loaded.model)
            if reason is None:
                progress(f"Preparing {self.spec.name}", None)
                self._batched = batched(loaded, must=wanted == "batched")
            else:
                log.info("answers come one at a time: %s", reason)
        self._ready = loaded

    @property
    def bytes(self) -> int:
        """What is remembered, beside the weights; nothing on a GPU, whose memory is counted as a whole."""
        if self._ready is None or self._ready.model.device.type == "cuda":
            return 0
        pages = 0 if self._batched is None else self._batched.bytes
        return self._prefixes.bytes + self._reader.looker.cache.bytes + pages

    def forget(self) -> None:
        """Gives back all memory that isn't the model's own or its engines'."""
        self._prefixes.clear()
        self._reader.looker.cache.clear()
        free_memory()

    def close(self) -> None:
        """Ends the engines and forgets everything; `load` begins anew."""
        if self._batched is not None:
            self._batched.close()
        self._batched = self._decoder = self._ready = None
        self.forget()

    # --- one question ------------------------------------------------------------------------------------------------

    def read(self, loaded: Loaded, request: Request, streamer: TokenStreamer, halted: Halt) -> Question:
        """The prompt of a request. What is remembered goes where the tower needs its memory. Raises BackendError,
        MediaError, and Halted once `halted()` says so."""
        try:
            return self._read(loaded, request, streamer, halted)
        except torch.OutOfMemoryError:
            log.info("what is remembered is forgotten: reading needs the memory")
        self.forget()
        return self._read(loaded, request, streamer, halted)

    def _read(self, loaded: Loaded, request: Request, streamer: TokenStreamer, halted: Halt) -> Question:
        conversation, settings, dropped = request.conversation, request.settings, 0
        context = min(loaded.model.config.max_context, self.spec.context)
        while True:
            read = self._reader.read(loaded, conversation, settings, note=streamer.say, stop=halted)
            shorter = without_oldest(conversation) if settings.drop_old_turns else None
            if shorter is None or len(read.ids) + min(settings.max_new_tokens, DROP_ROOM) <= context:
                break
            conversation, dropped = shorter, dropped + 1
        if halted():
            raise Halted
        settings = fitted(settings, self.spec, len(read.ids), context)
        budget = budget_of(loaded, settings) if settings.thinking else None
        refusal = None if self._batched is None else self._batched.refuses(read, settings, budget)
        if refusal is not None:
            log.info("answered alone: %s", refusal)
        return Question(read, settings, budget, dropped, many=self._batched is not None and refusal is None)

    def answer(
        self,
        loaded: Loaded,
        question: Question,
        streamer: TokenStreamer,
        *,
        halted: Halt,
        begin: Callable[[], None],
        started: float,
    ) -> Done:
        """Puts the answer's tokens into `streamer` and returns its last event. `started` is the time.monotonic() at
        which the question came; `begin` is called when its turn has come. Raises BackendError."""
        streamer.note = "Waiting for other answers"
        controls = loaded.prompts.controls
        streamer.begin(
            loaded.decoder,
            thinking=question.settings.thinking,
            think_start=controls.get("<think>"),
            think_end=controls.get("</think>"),
        )
        with self._placed(question, halted) as engine:
            begin()
            streamer.note = "Reading the conversation"
            if engine is not None:
                ids = engine.generate(
                    question.read, question.settings, budget=question.budget, streamer=streamer, stop=halted
                )
            else:
                ids = self._solo(loaded, question, streamer, halted)
        ended = len(ids) > 0 and int(ids[-1]) in loaded.ending.eos
        stats = replace(
            measured(streamer, started),
            prompt_tokens=len(question.read.ids),
            visual_tokens=question.read.visual_tokens,
            frame_times=question.read.frame_times,
            dropped_turns=question.dropped,
            engine="" if self._batched is None else "solo" if engine is None else "batched",
        )
        return Done("end" if ended else "stopped" if halted() else "length", stats)

    @contextmanager
    def _placed(self, question: Question, halted: Halt) -> Iterator[BatchedEngine | None]:
        """The engine that answers a question together with others, or None once it is this one's turn to be answered
        alone. Whoever comes while nobody else is here is answered alone where recorded graphs make that faster."""
        with self._places:
            first = self._live == 0
            self._live += 1
        try:
            if self._batched is not None and question.many and not (first and self._decoder is not None):
                yield self._batched
                return
            while not self._alone.acquire(timeout=PATIENCE):
                if halted():
                    raise Halted
            try:
                yield None
            finally:
                self._alone.release()
        finally:
            with self._places:
                self._live -= 1

    def _solo(self, loaded: Loaded, question: Question, streamer: TokenStreamer, halted: Halt) -> Tensor:
        """New ids, with what recent conversations share of the prompt taken from memory."""
        read = question.read
        cache, _ = self._prefixes.take(read.keys, loaded.model.config.llm_config)
        ids = solo.generate(
            loaded.model,
            solo.embeddings(loaded.model, read.ids, read.visual),
            question.settings,
            ending=loaded.ending,
            mask=read.mask,
            cache=cache,
            budget=question.budget,
            streamer=streamer,
            stop=halted,
            decoder=self._decoder,
        )
        self._prefixes.keep((*read.keys, *ids.tolist()), cache)
        return ids


def batched(loaded: Loaded, *, must: bool) -> BatchedEngine | None:
    """The engine for many at once, its memory taken. Where that isn't there: None, or a BackendError when it `must`."""
    try:
        engine = BatchedEngine(loaded.model, loaded.ending)
        engine.warm()
        return engine
    except (BackendError, torch.OutOfMemoryError) as error:
        if must:
            raise BackendError("There isn't enough memory for many requests at once: use --engine solo.") from error
        log.warning("answers come one at a time: %s", error)
    free_memory()
    return None


def without_oldest(conversation: Conversation) -> Conversation | None:
    """The conversation without its first question and what was said to it; None where that is the only one."""
    asked = [index for index, message in enumerate(conversation.messages) if message.role == "user"]
    return Conversation(conversation.messages[asked[1] :]) if len(asked) > 1 else None


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
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
