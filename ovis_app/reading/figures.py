"""Figures cut out of a page, as the model named their places. Knows pictures; refuses to know where they go."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from ovis_app.reading.clean_up import SIDE, Box

QUALITY = 90  # they are JPEG


def cut_out(page: Image.Image, box: Box) -> bytes:
    """That part of a page, in the page's own pixels, as a file."""
    kept = BytesIO()
    page.crop(_pixels(box, page.size)).save(kept, "JPEG", quality=QUALITY)
    return kept.getvalue()


def _pixels(box: Box, size: tuple[int, int]) -> Box:
    """Thousandths in pixels of a page of that size: at least one each way."""
    (x, y, to_x, to_y), (width, height) = box, size
    left, top = min(x * width // SIDE, width - 1), min(y * height // SIDE, height - 1)
    return left, top, max(-(-to_x * width // SIDE), left + 1), max(-(-to_y * height // SIDE), top + 1)
