"""A picture as the model gets it: through the gate, then opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from ovis_app.limits import Limits
from ovis_app.media import attach, open_image

DISC = (75, 95)  # a place within that of files/a.heic and files/icc_swapped


def opened(write: Callable[[str, bytes], Path], name: str, data: bytes) -> Image.Image:
    media = attach(write(name, data), name, Limits())
    assert media.kind == "image" and media.name == name
    picture = open_image(media, Limits())
    assert picture.mode == "RGB"
    return picture
