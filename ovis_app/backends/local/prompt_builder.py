"""A conversation to a prompt that the language model can read: its media looked at, its turns written.

Knows chat formats and families; refuses to know files, generation and threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovis_app.backends.local.media_encoder import Looker, Note, Stop
from ovis_app.backends.local.model_pool import Loaded
from ovis_app.conversation import Conversation
from ovis_app.engine.encoder_cache import Seen
from ovis_app.generation import GenerationSettings
from ovis_app.media import Limits
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.inputs import attention_mask, chat_format
from ovis_app.models.prompt import Turn, encode_turns, expand
from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Read:
    """A prompt, ready. `keys` name its tokens by content, for finding what was computed before."""

    ids: Tensor  # [tokens], long, negative for visual tokens and indicators
    mask: Tensor  # [tokens], long
    keys: tuple[int, ...]
    visual: Tensor | None  # [visual tokens, hidden]
    visual_tokens: int
    frame_times: tuple[float, ...]  # of the clip attached to the question, in seconds


class Reader:
    """Reads conversations for one model."""

    def __init__(self, spec: ModelSpec, limits: Limits, cache_bytes: int) -> None:
        self.looker = Looker(spec, limits, cache_bytes)

    @property
    def spec(self) -> ModelSpec:
        return self.looker.spec

    def read(
        self, loaded: Loaded, conversation: Conversation, settings: GenerationSettings, *, note: Note, stop: Stop
    ) -> Read:
        """The prompt of a conversation that ends with a question. Raises MediaError, and Halted once `stop()`."""
        seen = self.looker.look(loaded, conversation, note=note, stop=stop)
        turns = turns_of(loaded, conversation, seen, settings, self.spec)
        spans = [span for group in seen for item in group for span in item.spans]
        chat = chat_format(loaded.model.config)
        written = encode_turns(loaded.prompts, chat, turns, thinking=settings.thinking)
        ids = torch.tensor(expand(written, [span.ids for span in spans]), dtype=torch.long)
        clips = [item.times for item in seen[-1] if item.times]
        return Read(
            ids=ids,
            mask=attention_mask(loaded.model.config, loaded.prompts, ids),
            keys=tuple(expand(written, [span.keys for span in spans])),
            visual=torch.cat([span.embeddings for span in spans]) if spans else None,
            visual_tokens=sum(len(span.embeddings) for span in spans),
            frame_times=clips[-1] if clips else (),
        )


def turns_of(
    loaded: Loaded,
    conversation: Conversation,
    seen: Sequence[Sequence[Seen]],
    settings: GenerationSettings,
    spec: ModelSpec,
) -> list[Turn]:
    """Messages and their media as turns: answers plain, the step-by-step line on the last question."""
    family = FAMILIES[loaded.model.config.family]
    turns = [Turn("system", (settings.system,))] if settings.system.strip() else []
    last = len(conversation.messages) - 1
    for number, message in enumerate(conversation.messages):
        if message.role == "user":
            text = message.text
            if number == last:
                text = "\n".join((text, *(line for line in suffixes(settings, spec) if line not in text)))
            media = [(item.kind, len(item.spans)) for item in seen[number]]
            turns.append(Turn("user", family.user_content(text, media)))
        elif message.role == "assistant" and message.text:  # an answer that never came teaches silence
            turns.append(Turn("assistant", (message.text,)))
    return turns


def suffixes(settings: GenerationSettings, spec: ModelSpec) -> tuple[str, ...]:
    """The lines that switches add to a question, in the words that the model was trained with."""
    boxes = spec.boxes_suffix if settings.boxes else ""
    steps = spec.cot_suffix if settings.cot else ""
    return tuple(line for line in (boxes, steps) if line)
