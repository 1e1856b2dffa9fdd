"""A very long or very wide picture in pieces, in reading order. Knows sizes and shapes; no pixels and no models.

Resized as a whole, a screenshot of 1080 x 20000 pixels is a strip whose letters nobody can read.
"""

from __future__ import annotations

import math
from dataclasses import replace

from PIL import Image

from ovis_app.conversation import Media

LONG = 3.0  # times its other side: what is longer is split
ASPECT = 4 / 3  # of a piece, that of the largest picture that Ovis2.5 was trained with
OVERLAP = 1 / 8  # of the shorter side: a line that one piece cuts is whole in the next


def pieces(width: int, height: int, *, most: int) -> int:
    """Into how many pieces a picture of this size is split, 1 where it isn't long."""
    long, short = max(width, height), min(width, height)
    if long <= LONG * short:
        return 1
    step = (ASPECT - OVERLAP) * short
    return max(min(math.ceil((long - OVERLAP * short) / step), most), 1)


def split(media: Media, size: tuple[int, int], *, most: int) -> tuple[Media, ...]:
    """The picture, or its pieces as pictures: from top to bottom, or from left to right."""
    count = pieces(*size, most=most)
    whole = replace(media.detail, split=False)
    if count == 1:
        return (replace(media, detail=whole),)
    return tuple(replace(media, detail=replace(whole, piece=(number, count))) for number in range(1, count + 1))


def cut(picture: Image.Image, piece: tuple[int, int]) -> Image.Image:
    """One piece of so many, each as long as the others."""
    return picture.crop(box_of(*picture.size, piece))


def box_of(width: int, height: int, piece: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where in a picture of that size a piece lies: left, upper, right, lower."""
    number, count = piece
    long, short = max(width, height), min(width, height)
    overlap = round(OVERLAP * short)
    step = (long - overlap) / count
    start, end = round((number - 1) * step), min(round(number * step) + overlap, long)
    return (start, 0, end, height) if width > height else (0, start, width, end)
