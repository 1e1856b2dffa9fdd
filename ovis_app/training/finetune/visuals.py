"""What a model sees of a sample's files: pixels as large as the app will ask for, and how many tokens they take.

Knows files, the zoo row's resolutions and families. Refuses to know words and labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ovis_app.conversation import Detail, Media, MediaKind
from ovis_app.limits import Limits
from ovis_app.media.images import open_image, upright_size
from ovis_app.media.video import sample_frames
from ovis_app.models.config import OvisConfig
from ovis_app.models.families.base import Family
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.values import Outline, Pixels, Visual
from ovis_app.training.finetune.formats import tags
from ovis_app.training.finetune.samples import Sample
from ovis_app.zoo import ModelSpec

AS_ADVISED = Detail()  # as the zoo row recommends
SIZES = ("min_pixels", "max_pixels", "max_partition")


@dataclass(frozen=True)
class View:
    """How a model looks at files. `asked` is what was asked for in place of what its row recommends."""

    spec: ModelSpec
    config: OvisConfig
    limits: Limits
    asked: Detail = AS_ADVISED

    @property
    def family(self) -> Family:
        return FAMILIES[self.config.family]

    def spans(self, sample: Sample) -> tuple[tuple[int, ...], ...]:
        """The ids that stand for each picture, and for the clip or each of its frames; of pictures only headers are
        read. Raises MediaError."""
        outlines = [
            Outline("image", (upright_size(media, self.limits),), **_sizes(detail))
            for media, detail in self._pictures(sample)
        ]
        if sample.video or sample.frames:
            detail = self._detail("video", several=False)
            outlines.append(Outline("video", self._frame_sizes(sample, detail), **_sizes(detail)))
        return tuple(ids for outline in outlines for ids in self.family.outlined(self.config, outline))

    def pixels(self, sample: Sample) -> tuple[Pixels, ...]:
        """The same with their pixels. Raises MediaError."""
        visuals = [
            Visual("image", (open_image(media, self.limits),), **_sizes(detail))
            for media, detail in self._pictures(sample)
        ]
        if sample.video or sample.frames:
            detail = self._detail("video", several=False)
            visuals.append(Visual("video", self._frames(sample, detail), **_sizes(detail)))
        parts = [part for visual in visuals for part in self.family.spread(visual)]
        return tuple(self.family.pixels(self.config, part) for part in parts)

    def _pictures(self, sample: Sample) -> Iterator[tuple[Media, Detail]]:
        """Each picture as closely as the app would look: one of several in its turn less so than a single one."""
        pictures = iter(sample.pictures)
        for turn in sample.turns:
            many = tags(turn.text)[0] if turn.role == "human" else 0
            yield from ((next(pictures), self._detail("image", several=many > 1)) for _ in range(many))

    def _detail(self, kind: MediaKind, *, several: bool) -> Detail:
        asked = self.spec.resolution(kind, several=several).clamped(self.asked)
        return self.spec.detail(Media(kind, Path(), detail=asked), several=several)

    def _frames(self, sample: Sample, detail: Detail) -> tuple[Image.Image, ...]:
        if sample.video:
            return sample_frames(sample.video, detail.frames or 1, self.limits).frames
        return tuple(open_image(media, self.limits) for media in chosen(sample.frames, detail.frames or 1))

    def _frame_sizes(self, sample: Sample, detail: Detail) -> tuple[tuple[int, int], ...]:
        if sample.video:
            return tuple(frame.size for frame in self._frames(sample, detail))
        return tuple(upright_size(media, self.limits) for media in chosen(sample.frames, detail.frames or 1))


def chosen(frames: Sequence[Media], most: int) -> tuple[Media, ...]:
    """At most so many of a clip's frames: the middle one of each of that many equal parts."""
    if len(frames) <= most:
        return tuple(frames)
    return tuple(frames[int((place + 0.5) * len(frames) / most)] for place in range(most))


def _sizes(detail: Detail) -> dict[str, Any]:
    return {name: getattr(detail, name) for name in SIZES}
