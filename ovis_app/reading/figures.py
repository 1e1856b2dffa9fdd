"""Figures cut out of a page, as the model named their places. Knows pictures; refuses to know where they go."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from ovis_app.reading.clean_up import SIDE, Box

QUALITY = 90  # they are JPEG
PIXELS = 16_000_000  # of one at most: a sheet of A4 at 360 dpi
LONGEST = 32_000  # pixels of a side: a JPEG has twice that at most


def cut_out(page: Image.Image, box: Box) -> bytes:
    """That part of a page as a file: in the page's own pixels, or smaller where those are too many."""
    part, kept = _pixels(box, page.size), BytesIO()
    width, height = part[2] - part[0], part[3] - part[1]
    share = min(1.0, (PIXELS / (width * height)) ** 0.5, LONGEST / max(width, height))
    if share < 1:
        size = max(1, int(width * share)), max(1, int(height * share))
        figure = page.resize(size, Image.Resampling.BICUBIC, box=part, reducing_gap=2.0)
    else:
        figure = page.crop(part)
    figure.save(kept, "JPEG", quality=QUALITY)
    return kept.getvalue()


def _pixels(box: Box, size: tuple[int, int]) -> Box:
    """Thousandths in pixels of a page of that size: at least one each way."""
    (x, y, to_x, to_y), (width, height) = box, size
    left, top = min(x * width // SIDE, width - 1), min(y * height // SIDE, height - 1)
    return left, top, max(-(-to_x * width // SIDE), left + 1), max(-(-to_y * height // SIDE), top + 1)
