"""One loaded model at work: its caches, its engines, and how it answers one question.

All that belongs to the model is here and goes with it. Runs in whatever thread calls it; refuses to know queues, and
that there are other models. Alone or together with others is decided here, request by request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ovis_app.backends.local.media_encoder import MediaEncoder
from ovis_app.backends.local.model_pool import LoadedModel, free_memory
from ovis_app.backends.local.prompt_builder import PreparedRequest, PromptBuilder
from ovis_app.checkpoints.hub import Progress, no_progress
from ovis_app.conversation import Stats
from ovis_app.engine import solo
from ovis_app.engine.batched import BatchedEngine, slower, unfit
from ovis_app.engine.decode import Decoder, warm_up
from ovis_app.engine.pages import EngineFailed, of_memory
from ovis_app.engine.prefix import PrefixStore
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.generation import Done, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.stop import Stop

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1  # how often a waiting answer checks whether it is still wanted
NO_MEMORY = "there isn't enough memory for many requests at once; use --engine solo to be spared the attempt."
ENGINE_FAILED = "the engine for many requests at once failed; the cause is in this log. Use --engine solo for now."


class Session:
    """A loaded model with its caches of pictures and conversations, and its engines. One request is prepared at a time;
    where `at_once` is true several may be answered at a time, from any thread."""

    def __init__(
        self, loaded: LoadedModel, settings: Settings, limits: Limits, *, progress: Progress = no_progress
    ) -> None:
        """Prepares the engines: everything that would be on the first user's time. Raises BackendError, and what
        `progress` raises."""
        self.loaded = loaded
        self._encoder = MediaEncoder(loaded, limits, cache_bytes=settings.visual_cache)
        self._builder = PromptBuilder(loaded, self._encoder)
        self._prefixes = PrefixStore(limit=settings.prefix_cache)
        self._batched: BatchedEngine | None = None
        self._failed = False  # whether there was one, or should have been
        self._decoder: Decoder | None = None
        self._live = 0  # answers under way
        self._live_lock = threading.Lock()
        self._solo_lock = threading.Lock()  # held by the one answer that solo gives
        if settings.engine != "plain":
            self._open_engines(settings.engine, progress)

    @property
    def at_once(self) -> bool:
        """Whether answers may be given at once."""
        return self._batched is not None

    # --- the engines -------------------------------------------------------------------------------------------------

    def _open_engines(self, wanted: str, progress: Progress) -> None:
        model, words = self.loaded.model, f"Preparing {self.loaded.spec.name}"
        self._decoder = warm_up(
            model, context=self.loaded.context, progress=lambda done, total: progress(words, done / total)
        )
        if wanted == "batched" or (wanted == "auto" and model.device.type == "cuda"):
            reason = unfit(model) or (slower(model) if wanted == "auto" else None)
            if reason is None:
                progress(words, None)
                self._batched = batched(self.loaded)
                self._failed = self._batched is None
            else:
                log.warning("answers come one at a time: %s", reason)

    @property
    def bytes(self) -> int:
        """What the caches take, beside the weights; nothing on a GPU, whose memory is counted as a whole."""
        if self.loaded.model.device.type == "cuda":
            return 0
        engine = self._batched  # an answer may give it up meanwhile
        pages = 0 if engine is None else engine.bytes
        return self._prefixes.bytes + self._encoder.cache.bytes + pages

    def evict(self) -> None:
        """Empties the caches: all memory that isn't the model's own or its engines'."""
        self._prefixes.clear()
        self._encoder.cache.clear()
        free_memory()

    def close(self) -> None:
        """Ends the engines and empties the caches."""
        with self._live_lock:
            engine, self._batched, self._decoder = self._batched, None, None
        if engine is not None:
            engine.close()
        self.evict()

    # --- one question ------------------------------------------------------------------------------------------------

    def prepare(self, request: Request, streamer: TokenStreamer, stop: Stop) -> PreparedRequest:
        """The prompt of a request. The caches are emptied where the tower needs their memory. Raises BackendError,
        MediaError, and Stopped once `stop` is set."""
        try:
            return self._builder.prepare(request.conversation, request.settings, note=streamer.say, stop=stop)
        except torch.OutOfMemoryError:
            log.info("the caches are emptied: preparing a prompt needs the memory")
        self.evict()
        return self._builder.prepare(request.conversation, request.settings, note=streamer.say, stop=stop)

    def answer(
        self, prepared: PreparedRequest, streamer: TokenStreamer, stop: Stop, *, begin: Callable[[], None],
        started: float,
    ) -> Done:  # fmt: skip
        """Puts the answer's tokens into `streamer` and returns its last event. `started` is the time.monotonic() at
        which the question came; `begin` is called when its turn has come. Raises BackendError, and Stopped where that
        turn never comes."""
        tokenizer, prompt = self.loaded.tokenizer, prepared.prompt
        controls = tokenizer.prompts.controls
        streamer.say("Waiting for other answers")
        streamer.begin(
            tokenizer.decoder,
            thinking=prepared.settings.thinking,
            think_start=controls.get("<think>"),
            think_end=controls.get("</think>"),
        )
        ids, together = self._generate(prepared, streamer, stop, begin=begin)
        ended = len(ids) > 0 and int(ids[-1]) in tokenizer.ending.eos
        stats = replace(
            measured(streamer, started),
            prompt_tokens=len(prompt.ids),
            visual_tokens=prompt.visual_tokens,
            frame_times=prompt.frame_times,
            dropped_turns=prepared.dropped,
            engine="batched" if together else "solo" if self._failed or self._batched is not None else "",
        )
        return Done("end" if ended else "stopped" if stop.is_set() else "length", stats)

    def _generate(
        self, prepared: PreparedRequest, streamer: TokenStreamer, stop: Stop, *, begin: Callable[[], None],
        alone: bool = False,
    ) -> tuple[Tensor, bool]:  # fmt: skip
        """New ids, and whether they were computed together with others. Where the engine for that fails before anything
        was said, solo answers."""
        with self._placed(prepared, streamer, stop, alone=alone) as engine:
            begin()
            streamer.say("Reading the conversation")
            if engine is None:
                return self._solo(prepared, streamer, stop), False
            try:
                ids = engine.generate(
                    prepared.prompt, prepared.settings, budget=prepared.budget, streamer=streamer, stop=stop.is_set
                )
                return ids, True
            except EngineFailed as failed:
                self._fall_back(engine, failed)
                if streamer.count:
                    raise
                del engine  # it goes with its table of visual tokens before solo answers
        free_memory()  # here the failure is gone, and with it what its traceback held
        return self._generate(prepared, streamer, stop, begin=begin, alone=True)

    def _fall_back(self, engine: BatchedEngine, failed: EngineFailed) -> None:
        """Gives the engine up, unless it lacked memory: that may be there for the next question."""
        cause = failed if failed.__cause__ is not None else None  # else the engine has logged it
        if failed.memory:
            log.warning(
                "the engine for many requests at once lacked memory; the next question tries it again", exc_info=cause
            )
            return
        with self._live_lock:
            if self._batched is not engine:
                return
            self._batched, self._failed = None, True
        log.warning("answers come one at a time from now on: %s", ENGINE_FAILED, exc_info=cause)
        engine.close(failed=True)

    @contextmanager
    def _placed(
        self, prepared: PreparedRequest, streamer: TokenStreamer, stop: Stop, *, alone: bool
    ) -> Iterator[BatchedEngine | None]:
        """The engine that answers a question together with others, or None once it is this one's turn to be answered
        `alone`. Whoever comes while nobody else is here is answered alone where recorded graphs make that faster."""
        with self._live_lock:
            first = self._live == 0
            self._live += 1
            engine = None if alone or (first and self._decoder is not None) else self._batched
        try:
            if engine is not None:
                refusal = engine.refuses(prepared.prompt, prepared.settings, prepared.budget)
                if refusal is None:
                    yield engine
                    return
                log.info("answered alone: %s", refusal)
            engine = None
            stop.deadline = streamer.deadline = float("inf")  # the clock stands until `begin`
            while not self._solo_lock.acquire(timeout=POLL_SECONDS):
                stop.check()
            try:
                yield None
            finally:
                self._solo_lock.release()
        finally:
            with self._live_lock:
                self._live -= 1

    def _solo(self, prepared: PreparedRequest, streamer: TokenStreamer, stop: Stop) -> Tensor:
        """New ids, with what recent conversations share of the prompt taken from the cache."""
        prompt, model = prepared.prompt, self.loaded.model
        cache, _ = self._prefixes.take(prompt.keys, model.config.llm_config)
        ids = solo.generate(
            model,
            solo.embeddings(model, prompt.ids, prompt.visual),
            prepared.settings,
            ending=self.loaded.tokenizer.ending,
            mask=prompt.mask,
            cache=cache,
            budget=prepared.budget,
            streamer=streamer,
            stop=stop.is_set,
            decoder=self._decoder,
        )
        self._prefixes.keep((*prompt.keys, *ids.tolist()), cache)
        return ids


def batched(loaded: LoadedModel) -> BatchedEngine | None:
    """The engine for many at once, its memory taken. None, and a warning that says why, where it can't be had: then
    solo answers, also who asked for this engine."""
    try:
        engine = BatchedEngine(loaded.model, loaded.tokenizer.ending)
        engine.warm()
        return engine
    except Exception as error:  # compilers and drivers fail in many ways, and answers come without them too
        full = error.memory if isinstance(error, EngineFailed) else of_memory(error)
        log.warning("answers come one at a time: %s", NO_MEMORY if full else ENGINE_FAILED, exc_info=True)
    free_memory()
    return None


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
