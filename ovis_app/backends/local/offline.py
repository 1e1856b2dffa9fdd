"""Many questions at once for one model: read one by one, answered together, a failure staying with its question.

Knows the local model; refuses to know files of questions and progress bars.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from ovis_app import zoo
from ovis_app.backends.local.backend import OUT_OF_MEMORY
from ovis_app.backends.local.model_pool import Loaded, loaded_model
from ovis_app.backends.local.prompt_builder import Read, Reader
from ovis_app.backends.local.room import budget_of, fitted
from ovis_app.backends.local.session import free_memory
from ovis_app.backends.validation import checked
from ovis_app.chat import grown, stamped
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.engine import solo
from ovis_app.engine.batch import generate_many
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.generation import BackendError, Done, GenerationSettings, Request
from ovis_app.media import Limits, MediaError
from ovis_app.settings import Settings

log = logging.getLogger(__name__)


class ManyAnswers:
    """Answers batches of conversations that end with a question."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self.settings, self.spec = settings, zoo.resolve(settings.model)
        self._limits = limits
        self._reader = Reader(self.spec, limits, settings.visual_cache)

    def load(self) -> Loaded:
        """The model, loaded by whoever comes first. Raises BackendError."""
        settings = self.settings
        loaded = loaded_model(self.spec, device=settings.device, dtype=settings.dtype, quantize=settings.quantize)
        self.spec = self._reader.looker.spec = loaded.spec  # the name may have told little
        return loaded

    def answer(self, asked: Sequence[Conversation], settings: GenerationSettings) -> list[Message]:
        """An assistant's message for each; one that couldn't be given has `error`. Raises BackendError for bad settings
        or a model that can't be loaded."""
        settings = settings.check()
        loaded = self.load()
        answers: dict[int, Message] = {}
        readable: list[tuple[int, Read, GenerationSettings]] = []
        for number, conversation in enumerate(asked):
            try:
                readable.append((number, *self._read(loaded, stamped(Request(conversation, settings)))))
            except (BackendError, MediaError) as error:
                log.info("refused: %s", error, exc_info=error.__cause__)
                answers[number] = failure(str(error))
            except torch.OutOfMemoryError:
                log.exception("out of memory")
                answers[number] = failure(OUT_OF_MEMORY)
        # Rows are answered together where they may say equally much; the context cuts some shorter.
        for room in {settings.max_new_tokens for _, _, settings in readable}:
            group = [(number, read, own) for number, read, own in readable if own.max_new_tokens == room]
            said = self._generate(loaded, [read for _, read, _ in group], group[0][2])
            answers.update((number, message) for (number, _, _), message in zip(group, said, strict=True))
        return [answers[number] for number in range(len(asked))]

    def _read(self, loaded: Loaded, request: Request) -> tuple[Read, GenerationSettings]:
        """The prompt, and settings that fit behind it."""
        request = checked(request, self.spec, self._limits)
        settings = request.settings
        read = self._reader.read(loaded, request.conversation, settings, note=lambda _: None, stop=lambda: False)
        settings = fitted(settings, self.spec, len(read.ids), loaded.model.config.max_context)
        if settings.thinking:
            budget_of(loaded, settings)  # raises where a thought and its answer have no room
        return read, settings

    def _generate(self, loaded: Loaded, reads: Sequence[Read], settings: GenerationSettings) -> list[Message]:
        try:
            return _answered(loaded, reads, settings)
        except torch.OutOfMemoryError:
            log.exception("out of memory with %d questions at once", len(reads))
        free_memory()
        if len(reads) == 1:
            return [failure(OUT_OF_MEMORY)]
        return [message for read in reads for message in self._generate(loaded, [read], settings)]


def failure(sentence: str) -> Message:
    return Message("assistant", error=sentence, finish="error")


def _answered(loaded: Loaded, reads: Sequence[Read], settings: GenerationSettings) -> list[Message]:
    budget = budget_of(loaded, settings) if settings.thinking else None
    prompts = [(solo.embeddings(loaded.model, read.ids, read.visual), read.mask) for read in reads]
    rows = generate_many(
        loaded.model, prompts, settings, ending=loaded.ending, processors=[budget] if budget is not None else []
    )
    return [_message(loaded, read, row, settings) for read, row in zip(reads, rows, strict=True)]


def _message(loaded: Loaded, read: Read, ids: list[int], settings: GenerationSettings) -> Message:
    """The ids as a message, through the same streamer as a live answer."""
    controls = loaded.prompts.controls
    streamer = TokenStreamer()
    streamer.begin(
        loaded.decoder,
        thinking=settings.thinking,
        think_start=controls.get("<think>"),
        think_end=controls.get("</think>"),
    )
    streamer.put(torch.tensor(ids, dtype=torch.long))
    streamer.end()
    stats = Stats(prompt_tokens=len(read.ids), visual_tokens=read.visual_tokens, answer_tokens=len(ids))
    stats = replace(stats, thinking_tokens=streamer.thought_count, frame_times=read.frame_times)
    streamer.done(Done("end" if ids and ids[-1] in loaded.ending.eos else "length", stats))
    conversation = Conversation((Message("assistant"),))
    for event in streamer:
        conversation = grown(conversation, event)
    return conversation.messages[-1]
