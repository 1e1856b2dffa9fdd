"""Batches of questions for one model: prepared one by one, answered together, a failure staying with its question.

Drives the engine itself, without a thread. Knows the local model; refuses to know files of questions and progress bars.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ovis_app import zoo
from ovis_app.backends.local.model_pool import LoadedModel, loaded_model
from ovis_app.backends.local.prompt_builder import PreparedRequest
from ovis_app.backends.local.session import Session
from ovis_app.backends.validation import checked
from ovis_app.chat import grown, stamped
from ovis_app.checkpoints.placement import Placement
from ovis_app.conversation import Conversation, Message, Stats
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
        spec = zoo.adapted(settings.model, settings.adapter)
        placement = Placement.choose(
            spec, device=settings.device, dtype=settings.dtype, quantize=settings.quantize,
            gpu_memory=settings.gpu_memory,
        )  # fmt: skip
        self.loaded, self._limits = loaded_model(spec, placement), limits
        self._session = Session(self.loaded, settings, limits, thread=False)

    def answer(self, asked: Sequence[Conversation], settings: GenerationSettings) -> list[Message]:
        """An assistant's message for each; one that couldn't be given has `error`. Raises BackendError for bad
        settings."""
        settings = settings.check()
        answers: dict[int, Message] = {}
        prepared: dict[int, PreparedRequest] = {}
        for number, conversation in enumerate(asked):
            try:
                prepared[number] = self._prepare(stamped(Request(conversation, settings)))
            except (UserError, torch.OutOfMemoryError) as error:
                answers[number] = failure(error)
        said = self._session.generate_all(list(prepared.values()))
        for (number, one), ids in zip(prepared.items(), said, strict=True):
            answers[number] = failure(ids) if isinstance(ids, Exception) else _message(self.loaded, one, ids)
        return [answers[number] for number in range(len(asked))]

    def _prepare(self, request: Request) -> PreparedRequest:
        request = checked(request, self.loaded.spec, self._limits)
        return self._session.prepare(request, TokenStreamer(), NEVER)


def failure(error: Exception) -> Message:
    """An answer that couldn't be given, and why. Errors that nobody foresaw go on."""
    if isinstance(error, UserError):
        log.info("refused: %s", error, exc_info=error.__cause__)
        return Message("assistant", error=str(error), finish="error")
    if isinstance(error, torch.OutOfMemoryError):
        log.error("out of memory", exc_info=error)
        return Message("assistant", error=OUT_OF_MEMORY, finish="error")
    raise error


def _message(loaded: LoadedModel, prepared: PreparedRequest, ids: Tensor) -> Message:
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
    streamer.put(ids)
    streamer.end()
    stats = Stats(prompt_tokens=len(prompt.ids), visual_tokens=prompt.visual_tokens, answer_tokens=len(ids))
    stats = replace(
        stats, thinking_tokens=streamer.thought_count, frame_times=prompt.frame_times, dropped_turns=prepared.dropped,
        seen=prompt.seen,
    )  # fmt: skip
    streamer.done(Done("end" if len(ids) and int(ids[-1]) in tokenizer.ending.eos else "length", stats))
    conversation = Conversation((Message("assistant"),))
    for event in streamer:
        conversation = grown(conversation, event)
    return conversation.messages[-1]
