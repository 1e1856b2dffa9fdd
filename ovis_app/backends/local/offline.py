"""Batches of questions for one model: prepared one by one, answered together, a failure staying with its question.

Knows the local model; refuses to know files of questions and progress bars.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from ovis_app import zoo
from ovis_app.backends.local.media_encoder import MediaEncoder
from ovis_app.backends.local.model_pool import LoadedModel, free_memory, loaded_model
from ovis_app.backends.local.prompt_builder import PreparedRequest, PromptBuilder
from ovis_app.backends.validation import checked
from ovis_app.chat import grown, stamped
from ovis_app.checkpoints.placement import Placement
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.engine import solo
from ovis_app.engine.batch import generate_many
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.errors import OUT_OF_MEMORY, UserError
from ovis_app.generation import Done, GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.stop import NEVER

log = logging.getLogger(__name__)


class OfflineAnswers:
    """Answers batches of conversations that end with a question. Loads the model, unless it is there; raises
    BackendError where that can't be done."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        spec = zoo.resolve(settings.model)
        placement = Placement.choose(spec, device=settings.device, dtype=settings.dtype, quantize=settings.quantize)
        self.loaded, self._limits = loaded_model(spec, placement), limits
        self._builder = PromptBuilder(self.loaded, MediaEncoder(self.loaded, limits, cache_bytes=settings.visual_cache))

    def answer(self, asked: Sequence[Conversation], settings: GenerationSettings) -> list[Message]:
        """An assistant's message for each; one that couldn't be given has `error`. Raises BackendError for bad
        settings."""
        settings = settings.check()
        answers: dict[int, Message] = {}
        prepared: list[tuple[int, PreparedRequest]] = []
        for number, conversation in enumerate(asked):
            try:
                prepared.append((number, self._prepare(stamped(Request(conversation, settings)))))
            except UserError as error:
                log.info("refused: %s", error, exc_info=error.__cause__)
                answers[number] = failure(str(error))
            except torch.OutOfMemoryError:
                log.exception("out of memory")
                answers[number] = failure(OUT_OF_MEMORY)
        # Rows are answered together where they may say equally much; the context cuts some shorter.
        for most in {one.settings.max_new_tokens for _, one in prepared}:
            group = [(number, one) for number, one in prepared if one.settings.max_new_tokens == most]
            said = self._generate([one for _, one in group])
            answers.update((number, message) for (number, _), message in zip(group, said, strict=True))
        return [answers[number] for number in range(len(asked))]

    def _prepare(self, request: Request) -> PreparedRequest:
        request = checked(request, self.loaded.spec, self._limits)
        return self._builder.prepare(request.conversation, request.settings, note=lambda _: None, stop=NEVER)

    def _generate(self, prepared: Sequence[PreparedRequest]) -> list[Message]:
        try:
            return _answered(self.loaded, prepared)
        except torch.OutOfMemoryError:
            log.exception("out of memory with %d questions at once", len(prepared))
        free_memory()
        if len(prepared) == 1:
            return [failure(OUT_OF_MEMORY)]
        return [message for one in prepared for message in self._generate([one])]


def failure(sentence: str) -> Message:
    return Message("assistant", error=sentence, finish="error")


def _answered(loaded: LoadedModel, prepared: Sequence[PreparedRequest]) -> list[Message]:
    """Answers to requests whose settings are the same."""
    settings, budget = prepared[0].settings, prepared[0].budget
    prompts = [(solo.embeddings(loaded.model, one.prompt.ids, one.prompt.visual), one.prompt.mask) for one in prepared]
    rows = generate_many(
        loaded.model, prompts, settings, ending=loaded.tokenizer.ending,
        processors=[budget] if budget is not None else [],
    )  # fmt: skip
    return [_message(loaded, one, row) for one, row in zip(prepared, rows, strict=True)]


def _message(loaded: LoadedModel, prepared: PreparedRequest, ids: list[int]) -> Message:
    """The ids as a message, through the same streamer as a live answer."""
    prompt, tokenizer = prepared.prompt, loaded.tokenizer
    controls = tokenizer.prompts.controls
    streamer = TokenStreamer()
    streamer.begin(
        tokenizer.decoder,
        thinking=prepared.settings.thinking,
        think_start=controls.get("<think>"),
        think_end=controls.get("</think>"),
    )
    streamer.put(torch.tensor(ids, dtype=torch.long))
    streamer.end()
    stats = Stats(prompt_tokens=len(prompt.ids), visual_tokens=prompt.visual_tokens, answer_tokens=len(ids))
    stats = replace(
        stats, thinking_tokens=streamer.thought_count, frame_times=prompt.frame_times, dropped_turns=prepared.dropped
    )
    streamer.done(Done("end" if ids and ids[-1] in tokenizer.ending.eos else "length", stats))
    conversation = Conversation((Message("assistant"),))
    for event in streamer:
        conversation = grown(conversation, event)
    return conversation.messages[-1]
