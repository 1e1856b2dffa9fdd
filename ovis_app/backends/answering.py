"""How one model answers one question: read, generate, measure. All that belongs to the model is here, and goes with it.

Runs in whatever thread calls it; refuses to know queues, and that there are other models.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ovis_app import zoo
from ovis_app.backends.loading import Loaded, loaded_model
from ovis_app.backends.reading import Halted, Read, Reader
from ovis_app.backends.room import budget_of, fitted
from ovis_app.conversation import Conversation, Stats
from ovis_app.engine import solo
from ovis_app.engine.prefix import PrefixStore
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.generation import Done, GenerationSettings, Request
from ovis_app.media import Limits
from ovis_app.models.hub import Progress
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

DROP_ROOM = 256  # new tokens that must fit once old turns are dropped to make room
Halt = Callable[[], bool]


class Answerer:
    """One model with what it remembers of pictures and conversations. One request at a time."""

    def __init__(self, spec: ModelSpec, settings: Settings, limits: Limits) -> None:
        self.spec, self.settings = spec, settings
        self._reader = Reader(spec, limits, settings.visual_cache)
        self._prefixes = PrefixStore(limit=settings.prefix_cache)

    def load(self, progress: Progress) -> Loaded:
        """The model, loaded unless it is there. Raises BackendError, and what `progress` raises."""
        settings = self.settings
        loaded = loaded_model(
            self.spec, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, progress=progress
        )
        if loaded.model.config.family != self.spec.family:  # known only now: the name told nothing
            row = zoo.FAMILY_ROWS[loaded.model.config.family]
            self.spec = replace(row, id=self.spec.id, name=self.spec.name, about=self.spec.about)
            self._reader.spec = self.spec
        return loaded

    def forget(self) -> None:
        """Gives back all memory that isn't the model's own."""
        self._prefixes.clear()
        self._reader.cache.clear()
        free_memory()

    def answer(
        self, loaded: Loaded, request: Request, streamer: TokenStreamer, *, halted: Halt, started: float
    ) -> Done:
        """Puts the answer's tokens into `streamer` and returns its last event. `started` is the time.monotonic() at
        which the question came. Raises BackendError, MediaError, and Halted where `halted()` says so before there is
        anything to read."""
        read, settings, dropped = self._read(loaded, request, streamer, halted)
        if halted():
            raise Halted
        streamer.note = "Reading the conversation"
        ids = self._generate(loaded, read, settings, streamer, halted)
        ended = len(ids) > 0 and int(ids[-1]) in loaded.ending.eos
        stats = replace(
            measured(streamer, started),
            prompt_tokens=len(read.ids),
            visual_tokens=read.visual_tokens,
            frame_times=read.frame_times,
            dropped_turns=dropped,
        )
        return Done("end" if ended else "stopped" if halted() else "length", stats)

    def _read(
        self, loaded: Loaded, request: Request, streamer: TokenStreamer, halted: Halt
    ) -> tuple[Read, GenerationSettings, int]:
        """The prompt, settings that fit behind it, and how many of the oldest questions were left out for that."""
        conversation, settings, dropped = request.conversation, request.settings, 0
        context = min(loaded.model.config.max_context, self.spec.context)
        while True:
            read = self._reader.read(loaded, conversation, settings, note=streamer.say, stop=halted)
            shorter = without_oldest(conversation) if settings.drop_old_turns else None
            if shorter is None or len(read.ids) + min(settings.max_new_tokens, DROP_ROOM) <= context:
                return read, fitted(settings, self.spec, len(read.ids), context), dropped
            conversation, dropped = shorter, dropped + 1

    def _generate(
        self, loaded: Loaded, read: Read, settings: GenerationSettings, streamer: TokenStreamer, halted: Halt
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
