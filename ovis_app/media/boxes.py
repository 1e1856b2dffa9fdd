"""Boxes that an answer names: read from its words, in pixels of a picture, drawn into a copy of it.

Knows the notation `<ref>name</ref><box>(x1,y1),(x2,y2)</box>`, also as a list in brackets, with shares of the picture's
width and height or thousandths of them.
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
_PLACE = r"<box>[-+\d\s.,;:()\[\]，；、：（）]{0,400}+</box>"
_BOXES = re.compile(
    rf"(?:<ref>(?P<name>[^<]{{0,300}}+)</ref>{_GAP}[:：]?+{_GAP})?+\[?+{_GAP}"
    rf"(?P<places>{_PLACE}(?:{_GAP}[,;，；、]?+{_GAP}{_PLACE}){{0,64}}+)",
    re.ASCII | re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+]?(?:\d{1,9}+(?:\.\d{0,20}+)?+|\.\d{1,20}+)", re.ASCII)
_BEYOND = 0.1  # of a picture's side, by which a corner may lie beyond its edge and is meant to be there


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
    """The boxes that a text names, in its order, whichever corners it names first. What lies outside the picture is no
    box. The page reads the same by itself (`ui/static/page/boxes.mjs`)."""
    read = [
        (" ".join((match.group("name") or "").split()), corners)
        for match in _BOXES.finditer(text)
        for corners in _fours([float(one) for one in _NUMBER.findall(match.group("places"))])
    ]
    thousandths = any(max(corners) > 1.5 for _, corners in read)
    boxes = (_box(name, corners, thousandths=thousandths) for name, corners in read)
    return tuple([box for box in boxes if box is not None][:MOST])


def _fours(numbers: Sequence[float]) -> list[Sequence[float]]:
    return [numbers[at : at + 4] for at in range(0, len(numbers) - 3, 4)]


def _box(name: str, corners: Sequence[float], *, thousandths: bool) -> Box | None:
    """A frame by two of its corners, in shares; where another of the answer counts thousandths, in those."""
    counts = thousandths and (max(corners) > 1.5 or all(one.is_integer() for one in corners))
    shares = [one / (1000 if counts else 1) for one in corners]
    if not all(-_BEYOND <= one <= 1 + _BEYOND for one in shares):
        return None
    x, y, to_x, to_y = (min(1.0, max(0.0, one)) for one in shares)
    if x == to_x or y == to_y:
        return None
    return Box(name, min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y))


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
