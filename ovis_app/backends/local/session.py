"""One loaded model at work: its caches, its engine, and how it answers one question.

All that belongs to the model is here and goes with it. Runs in whatever thread calls it; refuses to know queues, and
that there are other models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from ovis_app.backend import Occupancy, Resources, Weight
from ovis_app.backends.local.media_encoder import MediaEncoder
from ovis_app.backends.local.model_pool import LoadedModel, free_memory
from ovis_app.backends.local.prompt_builder import PreparedRequest, PromptBuilder
from ovis_app.backends.sights import looked_at
from ovis_app.conversation import Shortage, Stats
from ovis_app.engine import plain
from ovis_app.engine.answer import out_of_memory
from ovis_app.engine.capabilities import Capabilities
from ovis_app.engine.engine import Engine
from ovis_app.engine.memory_plan import MOST_CONTEXTS, MemoryPlan
from ovis_app.engine.open_engine import open_engine
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.errors import UserError
from ovis_app.generation import Done, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.sight import Sight
from ovis_app.stop import Stop
from ovis_app.turns import Turns

log = logging.getLogger(__name__)

READING, SHOWN_FROM = "Reading the conversation", 0.01

P = ParamSpec("P")
T = TypeVar("T")


class Session:
    """A loaded model with its caches of pictures and conversations, and its engine. Where `at_once` is true several
    requests may be prepared and answered at a time, from any thread."""

    def __init__(
        self, loaded: LoadedModel, settings: Settings, limits: Limits, *, thread: bool = True, once: bool = False
    ) -> None:  # fmt: skip
        """Ready to answer at once. Without a `thread` of the engine's own, whoever asks drives it. `once` is for a
        single answer: nothing is recorded, and one conversation has memory. Raises BackendError where the model leaves
        none for a conversation."""
        self.loaded = loaded
        self.turns = Turns()
        self._encoder = MediaEncoder(loaded, limits, cache_bytes=settings.visual_cache, turns=self.turns)
        self._capabilities, self._once = Capabilities.of(loaded.model, record=not once), once
        self.plan: MemoryPlan | None = None
        self._engine: Engine | None = None
        if settings.engine != "plain":
            if self.capabilities.decode == "plain":
                log.warning("answers come one at a time, by transformers' generate: %s", self.capabilities.why)
            else:
                self._engine = self._opened(settings)
        self._limits = limits
        self._builder = PromptBuilder(loaded, self._encoder, room=None if self.plan is None else self.plan.tokens)
        if thread and self._engine is not None:
            self._engine.start()

    def _opened(self, settings: Settings) -> Engine:
        loaded = self.loaded
        self.plan = MemoryPlan.of(
            loaded.model, context=loaded.context, prefix_cache=settings.prefix_cache, gpu_memory=settings.gpu_memory,
            encoder_cache=settings.visual_cache, conversations=1 if self._once else MOST_CONTEXTS,
        )  # fmt: skip
        return open_engine(
            loaded.model,
            loaded.tokenizer.ending,
            plan=self.plan,
            context=loaded.context,
            capabilities=self._capabilities,
            most_running=1 if settings.engine == "solo" or self._once else settings.at_once,
            lookup=settings.lookup == "auto",
            turns=self.turns,
            give_memory_back=self.evict,
        )

    @property
    def at_once(self) -> bool:
        """Whether answers may be given at once."""
        return self._engine is not None

    @property
    def capabilities(self) -> Capabilities:
        """How answers are made now; a faster way may have failed since the model was loaded."""
        step = None if self._engine is None else self._engine.runner.decode_step
        return self._capabilities.without_fused(step.why) if step is not None and step.why else self._capabilities

    @property
    def engine(self) -> Engine | None:
        return self._engine

    @property
    def resources(self) -> Resources | None:
        """Who gets how much memory; None where nothing was planned."""
        plan = self.plan
        return None if plan is None else Resources(plan.weights, plan.kv, plan.tokens, plan.working)

    @property
    def occupancy(self) -> Occupancy:
        """How many blocks of keys and values are taken."""
        if self._engine is None:
            return Occupancy()
        blocks = self._engine.blocks
        return Occupancy(blocks=blocks.count, blocks_used=blocks.held, blocks_cached=blocks.cached)

    @property
    def bytes(self) -> int:
        """What the caches take, beside the weights; nothing on a GPU, whose memory is counted as a whole."""
        if self.loaded.model.device.type == "cuda":
            return 0
        return self._encoder.cache.bytes + (0 if self._engine is None else self._engine.used_bytes)

    def evict(self) -> None:
        """Empties the cache of pictures, and gives back what nobody refers to."""
        self._encoder.cache.clear()
        free_memory()

    def close(self) -> None:
        """Ends the engine and empties the caches."""
        if self._engine is not None:
            self._engine.close()  # whoever comes late hears so
        self.evict()

    # --- one question ------------------------------------------------------------------------------------------------

    def prepare(self, request: Request, streamer: TokenStreamer, stop: Stop) -> PreparedRequest:
        """The prompt of a request. The caches are emptied where the tower needs their memory. Raises BackendError,
        MediaError, and Stopped once `stop` is set."""
        try:
            prepared = self._builder.prepare(request.conversation, request.settings, note=streamer.say, stop=stop)
            return replace(prepared, id=request.id)
        except Exception as error:
            if not out_of_memory(error):
                raise
            log.info("the caches are emptied: preparing a prompt needs the memory")
        self.evict()
        prepared = self._builder.prepare(request.conversation, request.settings, note=streamer.say, stop=stop)
        return replace(prepared, id=request.id, shortage=Shortage())

    def count(self, request: Request, stop: Stop) -> int:
        """Tokens of a request's prompt. No picture goes through the tower for it. Raises as `prepare` does."""
        return self._builder.count(request.conversation, request.settings, stop=stop)

    def sees(self, request: Request, place: int, streamer: TokenStreamer, stop: Stop) -> Sight:
        """How the picture at a place of the question is seen. Raises RequestError, MediaError, and Stopped once `stop`
        is set."""
        looked = looked_at(request, place, self.loaded.spec, self._limits)
        return self._encoder.sight(looked, note=streamer.say, stop=stop)

    def weigh(self, request: Request, stop: Stop) -> Weight:
        """What a request would take; see `backend.Weighs`. Raises as `prepare` does."""
        return self._builder.weigh(request.conversation, request.settings, stop=stop)

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
            stop=prepared.settings.stop,
            begun="thought" if prompt.answer.open else "answer" if prompt.answer.ids else "nothing",
        )
        ids, cached, shortage = self._generate(prepared, streamer, stop, begin=begin)
        ended = streamer.enough or (len(ids) > 0 and int(ids[-1]) in tokenizer.ending.eos)
        stats = replace(
            measured(streamer, started),
            prompt_tokens=len(prompt.ids),
            visual_tokens=prompt.visual_tokens,
            cached_tokens=cached,
            begun_tokens=prompt.begun,
            begun_thinking_tokens=prompt.answer.thought,
            min_pixels=prompt.detail.min_pixels,
            max_pixels=prompt.detail.max_pixels,
            frame_times=prompt.frame_times,
            seen=prompt.seen,
            dropped_turns=prepared.dropped,
            shortage=shortage or prepared.shortage,
            engine="plain" if self.capabilities.decode == "plain" else "",
        )
        return Done("end" if ended else "stopped" if stop.is_set() else "length", stats)

    def _generate(
        self, prepared: PreparedRequest, streamer: TokenStreamer, stop: Stop, *, begin: Callable[[], None]
    ) -> tuple[Tensor, int, Shortage | None]:
        """New ids, put into `streamer` as they come, how many of the prompt's tokens were known from before, and what
        memory ran out for."""

        waited = True

        def progress(share: float) -> None:
            nonlocal waited
            if waited:
                begin()
            waited = False
            streamer.say(READING if share < SHOWN_FROM else f"{READING}: {share:.0%}")

        def over() -> bool:
            return stop.is_set() or streamer.enough

        engine, prompt, settings = self._engine, prepared.prompt, prepared.settings
        if engine is not None:
            # The clock stands until the engine takes it up.
            stop.deadline = streamer.deadline = float("inf")
            answer = engine.answer(
                prompt, settings, budget=prepared.budget, streamer=streamer, stop=over, progress=progress,
                request_id=prepared.id,
            )  # fmt: skip
            return answer.ids, answer.sequence.found or 0, answer.shortage
        progress(0.0)
        ids = plain.generate(
            self.loaded.model, prompt, settings, ending=self.loaded.tokenizer.ending, budget=prepared.budget,
            streamer=streamer, stop=over,
        )  # fmt: skip
        return ids, 0, None

    def generate_all(self, prepared: Sequence[PreparedRequest]) -> list[Tensor | Exception]:
        """New ids [tokens] of each request, or why there are none. Nobody watches: in a session without a thread."""
        engine, loaded = self._engine, self.loaded
        if engine is None:
            ending = loaded.tokenizer.ending
            return [
                _or_error(plain.generate, loaded.model, one.prompt, one.settings, ending=ending, budget=one.budget)
                for one in prepared
            ]
        answers = [_or_error(engine.add, one.prompt, one.settings, budget=one.budget) for one in prepared]
        engine.run()
        return [answer if isinstance(answer, Exception) else _or_error(answer.wait) for answer in answers]


def _or_error(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | Exception:
    """What `work` returns, or what it raises: one request's failure is not the others'."""
    try:
        return work(*arguments, **options)
    except (UserError, torch.OutOfMemoryError) as error:
        return error


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
