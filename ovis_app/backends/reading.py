"""A conversation to a prompt that the language model can read: files opened, pictures encoded once, turns written.

Knows files, families and the memory of encoded pictures; refuses to know generation and threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ovis_app.backends.loading import Loaded
from ovis_app.conversation import Conversation, Detail, Media
from ovis_app.engine.visual_cache import Seen, Span, VisualCache
from ovis_app.generation import GenerationSettings
from ovis_app.media import Limits, digest, open_image, sample_frames
from ovis_app.models.families import FAMILIES
from ovis_app.models.prompt import Turn, encode_turns, expand
from ovis_app.models.question import attention_mask, chat_format
from ovis_app.models.visual import Visual
from ovis_app.zoo import ModelSpec

FRAMES = 8  # of a clip where nobody recommends a number
PIXELS_A_TOKEN = 32 * 32  # of Ovis2.5: patch 16, stride 2
CONTENT = -(1 << 20)  # content names lie below this, placeholders above

Note = Callable[[str], None]
Stop = Callable[[], bool]


class Halted(Exception):
    """Nobody waits for this answer any more."""


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
    """Reads conversations for one model, and remembers the pictures that it has encoded."""

    def __init__(self, spec: ModelSpec, limits: Limits, cache_bytes: int) -> None:
        self.spec, self.limits = spec, limits
        self.cache = VisualCache(cache_bytes)

    def read(
        self, loaded: Loaded, conversation: Conversation, settings: GenerationSettings, *, note: Note, stop: Stop
    ) -> Read:
        """The prompt of a conversation that ends with a question. Raises MediaError, and Halted once `stop()`."""
        seen: list[tuple[Seen, ...]] = []
        for message in conversation.messages:
            several = len(message.media) > 1
            seen.append(tuple(self._see(loaded, media, several, note, stop) for media in message.media))
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

    def _see(self, loaded: Loaded, media: Media, several: bool, note: Note, stop: Stop) -> Seen:
        """One picture or clip, encoded now or remembered."""
        if stop():
            raise Halted
        detail = self._detail(media, several)
        key = json.dumps([digest(media), media.kind, asdict(detail)])
        known = self.cache.get(key)
        if known is not None:
            return known
        note(f"Opening {media.label}")
        visual, times = self._open(media, detail, stop)
        if stop():
            raise Halted
        note(f"Looking at {media.label}")
        seen = Seen(media.kind, encode(loaded, visual, key, stop), times)
        self.cache.put(key, seen)
        return seen

    def _detail(self, media: Media, several: bool) -> Detail:
        """What was asked for, completed by what the model's row recommends."""
        spec, asked = self.spec, media.detail
        advised = spec.clip if media.kind == "video" else spec.several if several else spec.single
        frames = (asked.frames or spec.defaults.frames or FRAMES) if media.kind == "video" else None
        # No more than the context could hold: past that the prompt is refused, and the work would be for nothing.
        held = max(spec.context * PIXELS_A_TOKEN // (frames or 1), PIXELS_A_TOKEN)
        most = min(asked.max_pixels or advised.max_pixels, held)
        return Detail(
            min_pixels=min(asked.min_pixels or advised.min_pixels, most),
            max_pixels=most,
            max_partition=asked.max_partition or advised.max_partition,
            frames=frames,
        )

    def _open(self, media: Media, detail: Detail, stop: Stop) -> tuple[Visual, tuple[float, ...]]:
        sizes = {name: value for name, value in asdict(detail).items() if name != "frames"}
        if media.kind == "image":
            return Visual("image", (open_image(media, self.limits),), **sizes), ()
        clip = sample_frames(media, detail.frames or FRAMES, self.limits, stop=stop)
        return Visual("video", clip.frames, **sizes), clip.times


@torch.inference_mode()
def encode(loaded: Loaded, visual: Visual, key: str, stop: Stop) -> tuple[Span, ...]:
    """A span for each placeholder that the family gives the picture or clip. Raises Halted once `stop()` says so."""

    def between() -> None:
        if stop():
            raise Halted

    model = loaded.model
    family = FAMILIES[model.config.family]
    spans = []
    for number, part in enumerate(family.spread(visual)):
        pixels = family.pixels(model.config, part)
        values = pixels.values.to(device=model.device, dtype=model.dtype)
        embeddings = model.encode(values, pixels.grids, between=between)
        name = hashlib.sha256(f"{key} {number}".encode()).digest()[:7]
        spans.append(Span(pixels.ids, embeddings, CONTENT - int.from_bytes(name)))
    return tuple(spans)


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
