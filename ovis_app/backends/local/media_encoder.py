"""Pictures and clips to visual embeddings: files opened, what is new encoded together, what was seen remembered.

Knows files, resolutions and the memory of encoded pictures; refuses to know turns, prompts and generation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch

from ovis_app.backends.local.model_pool import Loaded
from ovis_app.conversation import Conversation, Detail, Media
from ovis_app.engine.encoder_cache import Seen, Span, VisualCache
from ovis_app.media import Limits, digest, open_image, sample_frames
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.values import Pixels, Visual
from ovis_app.zoo import ModelSpec

FRAMES = 8  # of a clip where nobody recommends a number
PIXELS_A_TOKEN = 32 * 32  # of Ovis2.5: patch 16, stride 2
CONTENT = -(1 << 20)  # content names lie below this, placeholders above
TOGETHER = 128 * 1024 * 1024  # bytes of pixels that wait to be encoded in one go, at most

Note = Callable[[str], None]
Stop = Callable[[], bool]


class Halted(Exception):
    """Nobody waits for this answer any more."""


@dataclass(frozen=True)
class Opened:
    """A picture or clip that the tower hasn't seen yet: its pixels, a part for each placeholder that it gets."""

    key: str
    media: Media
    parts: tuple[Pixels, ...]
    times: tuple[float, ...]  # of a clip's frames, in seconds

    @property
    def bytes(self) -> int:
        return sum(part.values.nbytes for part in self.parts)


class Looker:
    """Looks at the media of conversations for one model. One thread at a time."""

    def __init__(self, spec: ModelSpec, limits: Limits, cache_bytes: int) -> None:
        self.spec, self.limits = spec, limits
        self.cache = VisualCache(cache_bytes)

    def look(
        self, loaded: Loaded, conversation: Conversation, *, note: Note, stop: Stop
    ) -> list[tuple[Seen, ...]]:  # fmt: skip
        """What each message's media look like to the model. Raises MediaError, and Halted once `stop()`."""
        seen: dict[str, Seen] = {}
        waiting: list[Opened] = []
        wanted: list[list[str]] = []  # keys, by message
        for message in conversation.messages:
            wanted.append([])
            for media in message.media:
                detail = self.detail(media, several=len(message.media) > 1)
                key = json.dumps([digest(media), media.kind, asdict(detail)])
                wanted[-1].append(key)
                known = seen.get(key) or self.cache.get(key)
                if known is not None:
                    seen[key] = known
                elif all(one.key != key for one in waiting):
                    note(f"Opening {media.label}")
                    waiting.append(self._open(loaded, key, media, detail, stop))
                if sum(one.bytes for one in waiting) > TOGETHER:
                    seen |= self._encode(loaded, waiting, note, stop)
                    waiting = []
        seen |= self._encode(loaded, waiting, note, stop)
        return [tuple(seen[key] for key in keys) for keys in wanted]

    def detail(self, media: Media, *, several: bool) -> Detail:
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

    def _open(self, loaded: Loaded, key: str, media: Media, detail: Detail, stop: Stop) -> Opened:
        if stop():
            raise Halted
        sizes = {name: value for name, value in asdict(detail).items() if name != "frames"}
        if media.kind == "image":
            visual, times = Visual("image", (open_image(media, self.limits),), **sizes), ()
        else:
            clip = sample_frames(media, detail.frames or FRAMES, self.limits, stop=stop)
            visual, times = Visual("video", clip.frames, **sizes), clip.times
        config = loaded.model.config
        family = FAMILIES[config.family]
        return Opened(key, media, tuple(family.pixels(config, part) for part in family.spread(visual)), times)

    def _encode(self, loaded: Loaded, opened: Sequence[Opened], note: Note, stop: Stop) -> dict[str, Seen]:
        """What was opened, through the tower together, and remembered."""

        def between() -> None:
            if stop():
                raise Halted

        if opened:
            note(f"Looking at {opened[0].media.label if len(opened) == 1 else f'{len(opened)} files'}")
        with torch.inference_mode():
            embeddings = iter(loaded.model.encode_many([part for one in opened for part in one.parts], between=between))
        seen = {}
        for one in opened:
            spans = tuple(
                Span(part.ids, next(embeddings), _name(one.key, number)) for number, part in enumerate(one.parts)
            )
            seen[one.key] = Seen(one.media.kind, spans, one.times)
            self.cache.put(one.key, seen[one.key])
        return seen


def _name(key: str, number: int) -> int:
    """The content name of a part: the same for the same picture at the same resolution."""
    return CONTENT - int.from_bytes(hashlib.sha256(f"{key} {number}".encode()).digest()[:7])
