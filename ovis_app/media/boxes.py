"""Boxes that an answer names: read from its words, in pixels of a picture, drawn into a copy of it.

Knows the notation `<ref>name</ref><box>(x1,y1),(x2,y2)</box>` with shares of the picture's width and height.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ovis_app.conversation import Media
from ovis_app.limits import Limits
from ovis_app.media.images import open_image

MOST = 32  # boxes of one answer
SIDE = 1536  # pixels of a drawn picture's longer side at most: enough to see, and quick to send
COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#00a5a5")
# Bounded and possessive (no step back): whatever a model writes is read in time that grows with its length only.
_GAP = r"\s{0,16}+"
_NUMBER = rf"{_GAP}((?:\d{{1,9}}+(?:\.\d{{1,20}}+)?+)|\.\d{{1,20}}+){_GAP}"
_POINT = rf"\({_NUMBER},{_NUMBER}\)"
_BOX = re.compile(
    rf"(?:<ref>(?P<name>[^<]{{0,80}}+)</ref>{_GAP})?<box>{_GAP}{_POINT}{_GAP},{_GAP}{_POINT}{_GAP}</box>", re.ASCII
)


@dataclass(frozen=True)
class Box:
    """A frame in shares of the picture: left, top, right and bottom from 0 to 1."""

    name: str
    left: float
    top: float
    right: float
    bottom: float

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in a picture of this size."""
        return (
            round(self.left * width),
            round(self.top * height),
            round(self.right * width),
            round(self.bottom * height),
        )


def found(text: str) -> tuple[Box, ...]:
    """The boxes that a text names, in its order. What lies outside the picture is no box."""
    boxes = []
    for match in list(_BOX.finditer(text))[:MOST]:
        left, top, right, bottom = (float(match.group(i)) for i in range(2, 6))
        if left < right <= 1 and top < bottom <= 1:
            boxes.append(Box((match.group("name") or "").strip(), left, top, right, bottom))
    return tuple(boxes)


def draw(picture: Media, boxes: Sequence[Box], limits: Limits, out: Path) -> tuple[int, int]:
    """Writes a JPEG of the picture with its boxes, scaled down where it is large. Returns the picture's own width and
    height, upright. Raises MediaError."""
    image = open_image(picture, limits)
    size = image.size
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(image)
    line = max(2, max(image.size) // 300)
    height = max(11, max(image.size) // 50)
    font = ImageFont.load_default(height)
    for index, box in enumerate(boxes):
        color = COLORS[index % len(COLORS)]
        left, top, right, bottom = box.pixels(*image.size)
        pen.rectangle((left, top, right, bottom), outline=color, width=line)
        if box.name:
            place = pen.textbbox((left, top), box.name, font, anchor="lb" if top > height + line else "lt")
            pen.rectangle(place, fill=color)
            pen.text(place[:2], box.name, "white", font, anchor="lt")
    image.save(out, "JPEG", quality=90, subsampling=0)  # else thin lines lose their colour
    return size
