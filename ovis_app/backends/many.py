"""Many questions at once for one model: read one by one, answered together, a failure staying with its question.

Knows the local model; refuses to know files of questions and progress bars.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from ovis_app import zoo
from ovis_app.backends.loading import Loaded, loaded_model
from ovis_app.backends.local import OUT_OF_MEMORY, budget_of, fitted, free_memory
from ovis_app.backends.reading import Read, Reader, able
from ovis_app.chat import grown
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.engine import solo
from ovis_app.engine.batch import generate_many
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.generation import BackendError, Done, GenerationSettings
from ovis_app.media import Limits, MediaError
from ovis_app.settings import Settings

log = logging.getLogger(__name__)


class ManyAnswers:
    """Answers batches of conversations that end with a question."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self.settings, self.spec = settings, zoo.resolve(settings.model)
        self._reader = Reader(self.spec, limits, settings.visual_cache)

    def load(self) -> Loaded:
        """The model, loaded by whoever comes first. Raises BackendError."""
        return loaded_model(self.spec, device=self.settings.device, dtype=self.settings.dtype)

    def answer(self, asked: Sequence[Conversation], settings: GenerationSettings) -> list[Message]:
        """An assistant's message for each; one that couldn't be given has `error`. Raises BackendError for bad settings
        or a model that can't be loaded."""
        settings = able(settings.check(), self.spec)
        loaded = self.load()
        answers: list[Message | None] = [None] * len(asked)
        readable: list[tuple[int, Read]] = []
        for number, conversation in enumerate(asked):
            try:
                read = self._reader.read(loaded, conversation, settings, note=lambda _: None, stop=lambda: False)
                fitted(settings, self.spec, len(read.ids), loaded.model.config.max_context)
                readable.append((number, read))
            except (BackendError, MediaError) as error:
                log.info("refused: %s", error, exc_info=error.__cause__)
                answers[number] = Message("assistant", error=str(error), finish="error")
        if readable:
            said = self._generate(loaded, [read for _, read in readable], settings)
            for (number, _), message in zip(readable, said, strict=True):
                answers[number] = message
        return [answer for answer in answers if answer is not None]

    def _generate(self, loaded: Loaded, reads: Sequence[Read], settings: GenerationSettings) -> list[Message]:
        try:
            return _answered(loaded, reads, settings, self.spec)
        except torch.OutOfMemoryError:
            log.exception("out of memory with %d questions at once", len(reads))
        free_memory()
        if len(reads) == 1:
            return [Message("assistant", error=OUT_OF_MEMORY, finish="error")]
        return [message for read in reads for message in self._generate(loaded, [read], settings)]


def _answered(
    loaded: Loaded, reads: Sequence[Read], settings: GenerationSettings, spec: zoo.ModelSpec
) -> list[Message]:
    longest = max(len(read.ids) for read in reads)
    settings = fitted(settings, spec, longest, loaded.model.config.max_context)
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
