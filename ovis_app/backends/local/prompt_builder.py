"""A conversation to a prompt that the language model can take: media encoded, turns written, and what fits behind.

Knows chat formats, families and the context; refuses to know files, generation and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from ovis_app.backend import FileWeight, Weight
from ovis_app.backends.local.media_encoder import MediaEncoder, Note
from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.conversation import Conversation, Detail, Media, Seen, Shortage
from ovis_app.engine.encoder_cache import EncodedMedia, EncodedPart
from ovis_app.engine.thinking_budget import ThinkingBudget, resumed
from ovis_app.errors import RequestError, not_fitting
from ovis_app.generation import DROPPED_FOR, GenerationSettings
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.inputs import attention_mask, chat_format
from ovis_app.models.prompt import NOTHING_BEGUN, VISUAL_ATOM, Begun, Turn, encode_begun, encode_turns, expand
from ovis_app.request_id import NO_ID, RequestId
from ovis_app.stop import Stop

# For each token of the context: text of more is refused before it is tokenized, which takes a minute for 10 MB and
# holds everybody up. No usual text has so many a token.
CHARACTERS = 32
ANSWER_TOKENS = 16  # kept for the answer after a thought whose budget was spent

T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """A prompt whose media are encoded. `keys` name its tokens by content, for finding what was computed before."""

    ids: Tensor  # [tokens], long, negative for visual tokens and indicators
    mask: Tensor  # [tokens], long
    keys: tuple[int, ...]
    visual: Tensor | None  # [visual tokens, hidden]
    visual_tokens: int
    frame_times: tuple[float, ...]  # of the one clip attached to the question, in seconds
    seen: tuple[Seen, ...]  # what is attached to the question, and how large
    detail: Detail  # that the last picture or clip was read with
    answer: Begun = NOTHING_BEGUN  # what the prompt ends with, where an answer is continued

    @property
    def begun(self) -> int:
        """Tokens at its end that are the answer's own."""
        return len(self.answer.ids)


@dataclass(frozen=True)
class PreparedRequest:
    """A prompt, and settings that fit behind it."""

    prompt: Prompt
    settings: GenerationSettings
    budget: ThinkingBudget | None
    dropped: int = 0  # of the oldest questions, left out to make room
    shortage: Shortage | None = None  # where memory ran out for it
    id: RequestId = NO_ID  # of the request


class PromptBuilder:
    """Builds prompts for one loaded model."""

    def __init__(self, loaded: LoadedModel, encoder: MediaEncoder, *, room: int | None = None) -> None:
        """`room` tokens of a prompt and its answer have memory, where that is less than the context."""
        self._loaded, self.encoder = loaded, encoder
        self._room = loaded.context if room is None else min(room, loaded.context)

    def prepare(
        self, conversation: Conversation, settings: GenerationSettings, *, note: Note, stop: Stop
    ) -> PreparedRequest:
        """A conversation that ends with a question, or with an answer's beginning, and settings that fit; the oldest
        turns are left out where that is allowed and needed. Raises RequestError, MediaError, and Stopped once `stop` is
        set."""
        loaded = self._loaded
        build = partial(self.build, settings=settings, note=note, stop=stop)
        prompt, dropped = self._shortened(conversation, settings, build, lambda made: len(made.ids))
        stop.check()
        settings = fitted(settings, loaded, len(prompt.ids), room=self._room)
        begun = prompt.answer
        settings = replace(settings, thinking=begun.open or (settings.thinking and not begun.thought))
        thinks = begun.open or (settings.thinking and not begun.ids)
        return PreparedRequest(prompt, settings, budget_of(loaded, settings, begun) if thinks else None, dropped)

    def _shortened(
        self, conversation: Conversation, settings: GenerationSettings, make: Callable[[Conversation], T],
        length: Callable[[T], int],
    ) -> tuple[T, int]:  # fmt: skip
        """What `make` makes of the conversation, or where that is allowed and needed of what is left of it without its
        oldest turns; and how many of those."""
        dropped = 0
        while True:
            shorter = conversation.without_oldest() if settings.drop_old_turns else None
            if shorter is None or not self._hopeless(conversation, settings):
                made = make(conversation)
                if shorter is None or length(made) + min(settings.max_new_tokens, DROPPED_FOR) <= self._room:
                    return made, dropped
            conversation, dropped = shorter, dropped + 1

    def build(self, conversation: Conversation, settings: GenerationSettings, *, note: Note, stop: Stop) -> Prompt:
        """The prompt of a conversation that ends with a question, or with an answer's beginning. Raises RequestError
        where it is so long that nobody needs to count, MediaError, and Stopped once `stop` is set."""
        config, prompts = self._loaded.model.config, self._loaded.tokenizer.prompts
        self._check_length(conversation, settings)
        media = self.encoder.encode(conversation, note=note, stop=stop)
        answer = self._begun(conversation)
        written, spans = self._written(conversation, media, settings, answer)
        ids = torch.tensor(expand(written, [span.ids for span in spans]), dtype=torch.long)
        asked = conversation.last_user() or 0
        clips = [item.times for item in media[asked] if item.times]
        return Prompt(
            ids=ids,
            mask=attention_mask(config, prompts, ids),
            keys=tuple(expand(written, [span.keys for span in spans])),
            visual=torch.cat([span.embeddings for span in spans]) if spans else None,
            visual_tokens=sum(len(span.embeddings) for span in spans),
            frame_times=clips[0] if len(clips) == 1 else (),
            seen=tuple(map(_seen, conversation.messages[asked].media, media[asked])),
            detail=self._detail(conversation),
            answer=answer,
        )

    def count(self, conversation: Conversation, settings: GenerationSettings, *, stop: Stop) -> int:
        """How many tokens that prompt has. Raises as `build` does."""
        self._check_length(conversation, settings)
        media = self.encoder.outlined(conversation, stop=stop)
        written, spans = self._written(conversation, media, settings, self._begun(conversation))
        return len(expand(written, [span.ids for span in spans]))

    def weigh(self, conversation: Conversation, settings: GenerationSettings, *, stop: Stop) -> Weight:
        """What that prompt takes, in tokens; a conversation that doesn't fit is weighed too. Raises as `build` does."""

        def weighed(left: Conversation) -> Weight:
            self._check_length(left, settings)
            media = self.encoder.outlined(left, stop=stop)
            written, spans = self._written(left, media, settings, self._begun(left))
            files = left.messages[left.last_user() or 0].media
            return Weight(
                prompt=len(expand(written, [span.ids for span in spans])),
                visual=sum(map(_visual, spans)),
                room=self._room,
                files=_weights(files, media[left.last_user() or 0]),
            )

        weight, dropped = self._shortened(conversation, settings, weighed, lambda made: made.prompt)
        return replace(weight, dropped=dropped)

    def _check_length(self, conversation: Conversation, settings: GenerationSettings) -> None:
        """Before anything is tokenized or encoded. Raises RequestError."""
        if self._hopeless(conversation, settings):
            raise not_fitting(self._loaded.spec.name, 0, self._loaded.context)

    def _hopeless(self, conversation: Conversation, settings: GenerationSettings) -> bool:
        """Whether there are more characters than the context can hold."""
        characters = len(settings.system) + sum(len(message.text) for message in conversation.messages)
        if conversation.begun is not None:
            characters += len(conversation.begun.thinking)
        return characters > CHARACTERS * self._loaded.context

    def _begun(self, conversation: Conversation) -> Begun:
        """The answer's beginning, where there is one."""
        said, loaded = conversation.begun, self._loaded
        if said is None:
            return NOTHING_BEGUN
        chat = chat_format(loaded.model.config)
        return encode_begun(loaded.tokenizer.prompts, chat, thought=said.thinking, text=said.text)

    def _written(
        self, conversation: Conversation, media: Sequence[Sequence[EncodedMedia]], settings: GenerationSettings,
        answer: Begun,
    ) -> tuple[list[int], list[EncodedPart]]:  # fmt: skip
        """The ids of all that is text, with a place for each of the spans, and the beginning of an answer last."""
        if conversation.begun is not None:
            conversation = conversation.until(-1)
        turns = turns_of(self._loaded, conversation, media, settings)
        chat = chat_format(self._loaded.model.config)
        thinking = settings.thinking or answer.thought > 0
        written = encode_turns(self._loaded.tokenizer.prompts, chat, turns, thinking=thinking)
        return [*written, *answer.ids], [span for group in media for item in group for span in item.spans]

    def _detail(self, conversation: Conversation) -> Detail:
        shown = [message.media for message in conversation.messages if message.media]
        return self._loaded.spec.detail(shown[-1][-1], several=len(shown[-1]) > 1) if shown else Detail()


def _seen(media: Media, encoded: EncodedMedia) -> Seen:
    frames, pictures = (len(encoded.times), 1) if media.kind == "video" else (None, media.pictures)
    return Seen(media.label, *encoded.seen, *encoded.size, pictures, frames, media.missing)


def _weights(files: Sequence[Media], encoded: Sequence[EncodedMedia]) -> tuple[FileWeight, ...]:
    """Those of a question's files; pieces of one picture are one file."""
    weights: list[FileWeight] = []
    for file, one in zip(files, encoded, strict=True):
        tokens = sum(map(_visual, one.spans))
        number, count = file.detail.piece or (1, 1)
        before = weights.pop().tokens if number > 1 else 0
        weights.append(FileWeight(before + tokens, one.seen, count))
    return tuple(weights)


def _visual(span: EncodedPart) -> int:
    return span.ids.count(VISUAL_ATOM)


def turns_of(
    loaded: LoadedModel,
    conversation: Conversation,
    media: Sequence[Sequence[EncodedMedia]],
    settings: GenerationSettings,
) -> list[Turn]:
    """Messages and their media as turns: answers plain, the step-by-step line on the last question."""
    family = FAMILIES[loaded.model.config.family]
    turns = [Turn("system", (settings.system,))] if settings.system.strip() else []
    last = len(conversation.messages) - 1
    for number, message in enumerate(conversation.messages):
        if message.role == "user":
            text = loaded.spec.worded(message.text, settings) if number == last else message.text
            spans = [(item.kind, len(item.spans)) for item in media[number]]
            places = [item.place for item in message.media]
            turns.append(Turn("user", family.placed_content(text, spans, places)))
        elif message.role == "assistant" and message.text:  # an answer that never came teaches silence
            turns.append(Turn("assistant", (message.text,)))
    return turns


def fitted(
    settings: GenerationSettings, loaded: LoadedModel, prompt_tokens: int, *, room: int
) -> GenerationSettings:  # fmt: skip
    """The settings with as many new tokens as the context and the memory have left. Raises RequestError where the
    context has none; where the memory has none, the engine says so."""
    left = loaded.context - prompt_tokens
    if left < 1:
        raise not_fitting(loaded.spec.name, prompt_tokens, loaded.context)
    return replace(settings, max_new_tokens=min(settings.max_new_tokens, left, max(room - prompt_tokens, 1)))


def budget_of(loaded: LoadedModel, settings: GenerationSettings, begun: Begun = NOTHING_BEGUN) -> ThinkingBudget | None:
    """The budget's rule, lowered where the early-stop text and an answer would not fit behind it; `begun` is a thought
    that goes on. Raises RequestError where a thought and its answer have no room."""
    if settings.thinking_budget is None:
        return None
    prompts, chat = loaded.tokenizer.prompts, chat_format(loaded.model.config)
    early_stop = prompts.trusted(chat.early_stop)
    most = settings.max_new_tokens - len(early_stop) - ANSWER_TOKENS
    if most < 1:
        raise RequestError(
            f"Thinking needs room for {len(early_stop) + ANSWER_TOKENS + 64} new tokens and there is room for "
            f"{settings.max_new_tokens}: raise max new tokens, turn thinking off, or start a new chat."
        )
    return ThinkingBudget(
        budget=resumed(min(settings.thinking_budget, len(begun.ids) + most), begun.ids, early_stop),
        early_stop=early_stop,
        think_end=prompts.control(chat.think_end),
    )
