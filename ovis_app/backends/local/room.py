"""What still fits behind a prompt: new tokens in the context, a thought and an answer in the new tokens."""

from __future__ import annotations

from dataclasses import replace

from ovis_app.backends.local.model_pool import Loaded
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import BackendError, GenerationSettings
from ovis_app.models.inputs import chat_format
from ovis_app.zoo import ModelSpec

ANSWER_ROOM = 16  # tokens kept for the answer after a thought whose budget was spent


def fitted(settings: GenerationSettings, spec: ModelSpec, prompt_tokens: int, context: int) -> GenerationSettings:
    """The settings with as many new tokens as the context has room for. Raises BackendError when it has none."""
    context = min(context, spec.context)
    room = context - prompt_tokens
    if room < 1:
        raise BackendError(
            f"This conversation is {prompt_tokens:,} tokens long, {1 - room:,} more than {spec.name} can read with an "
            "answer: shorten the question, attach less, lower max pixels, start a new chat, or let the oldest turns be "
            "forgotten in the settings."
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
