"""Pictures and clips to visual embeddings: files decoded, what is new encoded together, what is known cached.

Knows files, resolutions and the encoder cache; refuses to know turns, prompts and generation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.backends.sights import LookedAt
from ovis_app.conversation import WHOLE_CLIP, Conversation, Detail, Media, Message, Size
from ovis_app.engine.encoder_cache import EncodedMedia, EncodedPart, EncoderCache
from ovis_app.limits import Limits
from ovis_app.media import digest, frame_sizes, open_image, sample_frames, upright_size
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.cells import sight
from ovis_app.models.preprocess.values import Outline, Pixels, Visual
from ovis_app.models.visual_words import visual_words
from ovis_app.sight import Sight, joined
from ovis_app.stop import Stop
from ovis_app.turns import Turns

CONTENT = -(1 << 20)  # content names lie below this, placeholders above
TOGETHER = 128 * 1024 * 1024  # bytes of pixels that wait to be encoded in one go, at most

SIZES = ("min_pixels", "max_pixels", "max_partition")

Note = Callable[[str], None]  # hears what is happening, in a few words


@dataclass(frozen=True)
class WantedMedia:
    """A picture or clip as closely as it is to be looked at. `key` names content and detail."""

    key: str
    media: Media
    detail: Detail


@dataclass(frozen=True)
class DecodedMedia:
    """A picture or clip that isn't encoded yet: its pixels, a part for each placeholder that it gets."""

    key: str
    media: Media
    parts: tuple[Pixels, ...]
    times: tuple[float, ...]  # of a clip's frames, in seconds
    size: tuple[int, int]  # its own, width and height

    @property
    def bytes(self) -> int:
        return sum(part.values.nbytes for part in self.parts)

    def encoded(self, spans: Sequence[EncodedPart]) -> EncodedMedia:
        """With a span for each part."""
        return EncodedMedia(self.media.kind, tuple(spans), self.times, self.size, self.parts[0].seen)


class MediaEncoder:
    """Encodes the media of conversations for one loaded model, one conversation's at a time. From any thread."""

    def __init__(self, loaded: LoadedModel, limits: Limits, *, cache_bytes: int, turns: Turns | None = None) -> None:
        """`turns` are taken with whoever else computes on the device."""
        self._spec, self._model, self._limits = loaded.spec, loaded.model, limits
        self.cache, self._turns = EncoderCache(cache_bytes), turns
        self._line = Turns()  # of those who bring something new

    def encode(self, conversation: Conversation, *, note: Note, stop: Stop) -> list[tuple[EncodedMedia, ...]]:
        """Each message's media. Whoever brings nothing new waits for nobody. Raises MediaError, and Stopped once `stop`
        is set."""
        wanted = [[self._wanted(media, message) for media in message.media] for message in conversation.messages]
        every = {one.key: one for group in wanted for one in group}
        encoded = {key: known for key in every if (known := self.cache.get(key)) is not None}
        if len(encoded) < len(every):
            note("Waiting for other pictures")
            with self._line:
                encoded |= self._new([one for key, one in every.items() if key not in encoded], note, stop)
        return [tuple(encoded[one.key] for one in group) for group in wanted]

    def outlined(self, conversation: Conversation, *, stop: Stop) -> list[tuple[EncodedMedia, ...]]:
        """Each message's media without embeddings, for counting: nothing goes through the tower, nothing is cached.
        Raises as `encode` does."""
        return [
            tuple(
                self._outline(self._wanted(media, message), stop)
                if media.told is None
                else self._sized(media, media.told, message)
                for media in message.media
            )
            for message in conversation.messages
        ]

    def sight(self, looked: LookedAt, *, note: Note, stop: Stop) -> Sight:
        """How a picture is seen, or its pieces, through the tower alone. Raises as `encode` does."""
        note("Waiting for other pictures")
        with self._line:
            found = tuple(self._sight(one, several=looked.several, note=note, stop=stop) for one in looked.pieces)
        whole = upright_size(looked.pieces[0], self._limits) if len(found) > 1 else found[0].size
        return joined(found, looked.parts(whole), whole)

    def _sight(self, media: Media, *, several: bool, note: Note, stop: Stop) -> Sight:
        note(f"Looking at {media.label}")
        detail = self._spec.detail(media, several=several)
        decoded = self._decode(WantedMedia("", media, detail), stop)
        config = self._model.config
        family = FAMILIES[config.family]
        seen = sight(family.layout(config), decoded.size, detail)
        words = visual_words(self._model, decoded.parts[0], stop=stop, turns=self._turns)  # a picture has one part
        cells, at = [], 0
        for one in seen.cells:
            cells.append(replace(one, words=words.part(at, at + one.count)))
            at += one.count
        return replace(seen, cells=tuple(cells), vocabulary=config.visual_vocab_size - family.indicators)

    def _sized(self, media: Media, told: Size, message: Message) -> EncodedMedia:
        """What `_outline` gives, of a file that is told by its size."""
        detail, family, config = self._detail(media, message), FAMILIES[self._model.config.family], self._model.config
        sizes = frame_sizes(told, detail, self._limits)
        limits = {name: getattr(detail, name) for name in SIZES}
        outline = Outline(media.kind, sizes, **limits)
        spans = tuple(EncodedPart(ids, torch.empty(0), CONTENT) for ids in family.outlined(config, outline))
        times = () if detail.frames is None else (0.0,) * len(sizes)
        return EncodedMedia(media.kind, spans, times, sizes[0], family.seen(config, outline))

    def _outline(self, wanted: WantedMedia, stop: Stop) -> EncodedMedia:
        known = self.cache.get(wanted.key)
        if known is not None:
            return known
        decoded = self._decode(wanted, stop)
        nothing = torch.empty(0)
        return decoded.encoded([EncodedPart(part.ids, nothing, CONTENT) for part in decoded.parts])

    def _new(self, wanted: Sequence[WantedMedia], note: Note, stop: Stop) -> dict[str, EncodedMedia]:
        """What isn't known yet, as much together as may wait; somebody else may have brought some of it meanwhile."""
        encoded: dict[str, EncodedMedia] = {}
        waiting: list[DecodedMedia] = []
        for one in wanted:
            known = self.cache.get(one.key)
            if known is not None:
                encoded[one.key] = known
                continue
            note(f"Opening {one.media.label}")
            waiting.append(self._decode(one, stop))
            if sum(decoded.bytes for decoded in waiting) > TOGETHER:
                encoded |= self._encode(waiting, note, stop)
                waiting = []
        return encoded | self._encode(waiting, note, stop) if waiting else encoded

    def _wanted(self, media: Media, message: Message) -> WantedMedia:
        detail = self._detail(media, message)
        return WantedMedia(json.dumps([digest(media), media.kind, asdict(detail)]), media, detail)

    def _detail(self, media: Media, message: Message) -> Detail:
        return self._spec.detail(media, several=len(message.media) > 1)

    def _decode(self, wanted: WantedMedia, stop: Stop) -> DecodedMedia:
        media, detail = wanted.media, wanted.detail
        stop.check()
        sizes = {name: getattr(detail, name) for name in SIZES}
        if detail.frames is None:
            times: tuple[float, ...] = ()
            visual = Visual("image", (open_image(media, self._limits),), **sizes)
        else:
            clip = sample_frames(media, detail.frames, self._limits, excerpt=detail.excerpt or WHOLE_CLIP, stop=stop)
            times, visual = clip.times, Visual("video", clip.frames, **sizes)
        config = self._model.config
        family = FAMILIES[config.family]
        parts = tuple(family.pixels(config, part) for part in family.spread(visual))
        return DecodedMedia(wanted.key, media, parts, times, visual.frames[0].size)

    def _encode(self, decoded: Sequence[DecodedMedia], note: Note, stop: Stop) -> dict[str, EncodedMedia]:
        """What was decoded, through the tower together, and into the cache."""
        if decoded:
            note(f"Looking at {decoded[0].media.label if len(decoded) == 1 else f'{len(decoded)} files'}")
        with torch.inference_mode():
            embeddings = iter(
                self._model.encode_many([part for one in decoded for part in one.parts], stop=stop, turns=self._turns)
            )
        encoded = {}
        for one in decoded:
            encoded[one.key] = one.encoded(
                [
                    EncodedPart(part.ids, next(embeddings), content_name(one.key, number))
                    for number, part in enumerate(one.parts)
                ]
            )
            self.cache.put(one.key, encoded[one.key])
        return encoded


def content_name(key: str, number: int) -> int:
    """The content name of a part: the same for the same picture at the same resolution."""
    return CONTENT - int.from_bytes(hashlib.sha256(f"{key} {number}".encode()).digest()[:7])
